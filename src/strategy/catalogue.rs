//! The built-in strategies: files compiled into the binary, one line each.

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("builtin/", $name, ".toml")))),*]
    };
}

/// Every built-in strategy, from the naive to the strict: name and text.
pub const BUILT_IN: &[(&str, &str)] = built_in![
    "naive",
    "naive-tx",
    "unchecked",
    "unlogged",
    "unkeyed",
    "read-replica",
    "pessimistic",
    "pessimistic-nowait",
    "pessimistic-skip-locked",
    "optimistic",
    "optimistic-stale",
    "cas",
    "cas-in-tx",
    "atomic",
    "atomic-returning",
    "constraint",
    "serializable",
    "advisory",
    "idempotent",
    "idempotent-savepoint",
    "idempotent-forgetful",
    "reserve-confirm",
    "reserve-unchecked",
    "reserve-deadlock",
    "redis-lock",
    "redis-lock-write-fence",
    "redis-lock-fenced",
    "redis-lock-pessimistic",
    "redis-counter",
    "saga",
    "saga-uncompensated",
    "buckets",
    "buckets-ungathered",
    "units",
    "group-commit",
    "shop-order",
    "shop-order-savepoint",
    "shop-order-look",
    "restock",
    "unchecked-restock",
    "stock-take",
    "stock-take-absolute",
];

/// The strategy of a run that names none.
pub const DEFAULT: &str = "atomic";

/// The names of all built-in strategies.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use crate::db::Dialect;
    use crate::strategy::{Strategy, guard};

    #[test]
    fn every_built_in_strategy_compiles_for_every_dialect_or_says_why_not() {
        for name in super::names() {
            let strategy = Strategy::load(name).unwrap();
            assert!(strategy.file.safety.is_some(), "{name} does not say whether it is safe");
            assert!(strategy.file.about.len() > 100, "{name} explains itself too briefly");
            for dialect in Dialect::ALL {
                let refusal = strategy.file.refused.get(dialect);
                match strategy.compile(&dialect.into()) {
                    Ok(program) => {
                        assert!(refusal.is_none(), "{name} on {dialect}");
                        assert_eq!(guard::foreign_writes(&program, 0), [], "{name} on {dialect}");
                        assert_eq!(guard::foreign_scripts(&program), [""; 0], "{name} on {dialect}");
                    }
                    Err(error) => assert!(error.to_string().contains(refusal.unwrap()), "{name}: {error}"),
                }
            }
        }
    }

    #[test]
    fn every_file_in_the_folder_is_in_the_catalogue() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/strategy/builtin");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(super::names().any(|known| known == name), "{name} is missing from the catalogue");
        }
    }
}
