//! Which keys a script for Redis writes, as far as its text shows.

/// Commands whose first argument is their only key.
const ONE_KEY: &[&str] = &[
    "DECR",
    "DECRBY",
    "EXPIRE",
    "GET",
    "HDEL",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HSET",
    "INCR",
    "INCRBY",
    "LINDEX",
    "LLEN",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "PEXPIRE",
    "RPOP",
    "RPUSH",
    "SADD",
    "SCARD",
    "SET",
    "SISMEMBER",
    "SREM",
    "STRLEN",
    "TTL",
    "ZADD",
    "ZCARD",
    "ZRANGE",
    "ZREM",
    "ZSCORE",
];

/// Commands that take any number of keys: only one is judged.
const ANY_KEYS: &[&str] = &["DEL", "EXISTS", "UNLINK"];

/// Whether a script shows, wherever it speaks to Redis, a command it is known
/// to use and a key with our prefix. What is put together elsewhere, or called
/// by another name, cannot be judged and counts as foreign.
pub(super) fn keys_are_ours(script: &str) -> bool {
    if ["_G", "_ENV", "load", "getfenv", "setfenv", "require"].iter().any(|word| script.contains(word)) {
        return false;
    }
    script.split("redis").skip(1).all(|rest| {
        let call = rest.strip_prefix(".call(").or_else(|| rest.strip_prefix(".pcall("));
        call.is_some_and(call_is_ours)
    })
}

fn call_is_ours(call: &str) -> bool {
    let Some(rest) = call.strip_prefix('\'') else { return false };
    let Some((command, rest)) = rest.split_once('\'') else { return false };
    let Some(rest) = rest.trim_start().strip_prefix(',') else { return false };
    let Some(key) = rest.trim_start().strip_prefix("'stockbench:") else { return false };
    let Some((_, after)) = key.split_once('\'') else { return false };
    // The literal ends the key, or something is appended to it.
    let after = after.trim_start();
    let ends = [",", ")", ".."].iter().any(|end| after.starts_with(end));
    let argument_end = after.find([',', ')']).unwrap_or(after.len());
    let is_one_key = after[argument_end..].starts_with(')');
    let command = command.to_uppercase();
    let has_word = [" and ", " or "].iter().any(|word| after[..argument_end].contains(word));
    ends && !has_word
        && (ONE_KEY.contains(&command.as_str()) || ANY_KEYS.contains(&command.as_str()) && is_one_key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_must_show_its_keys() {
        for ours in [
            "return redis.call('SET', 'stockbench:lock:' .. ARGV[1], 1, 'NX')",
            "return redis.call('DEL', 'stockbench:sold')",
            "if redis.call('GET', 'stockbench:a') then return redis.call('DEL', 'stockbench:b:' .. ARGV[1]) end",
        ] {
            assert!(keys_are_ours(ours), "{ours}");
        }
        for foreign in [
            "return redis.call('SET', ARGV[1], 1)",
            "redis.pcall('FLUSHALL')",
            "local c = redis.call; c('FLUSHALL')",
            "redis['call']('SET', 'prod', 1)",
            "redis.call ('FLUSHALL')",
            "redis.call('DEL', 'stockbench:x', 'prod:y')",
            "redis.call('RENAME', 'stockbench:x', 'prod:y')",
            "redis.call('DEL', 'stockbench:' and 'prod')",
            "_G['re' .. 'dis'].call('FLUSHALL')",
        ] {
            assert!(!keys_are_ours(foreign), "{foreign}");
        }
    }
}
