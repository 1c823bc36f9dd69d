//! Attempts to write outside our own tables without `--allow-writes`: each must be
//! refused before it is sent, and somebody else's table must stay as it is.

use crate::support::{Backend, Place, on_every_database, query};
use std::collections::BTreeMap;
use std::fmt::Write as _;

on_every_database!(nothing_is_written_outside_our_own_tables, what_only_reads_and_writes_ours_still_runs);

/// Where in a strategy a statement stands.
#[derive(Debug, Clone, Copy)]
enum At {
    Setup,
    Step,
    Invariant,
    Stock,
    Pending,
}
use At::{Invariant, Pending, Setup, Step, Stock};

/// An attempt of a kind: where it stands, on which databases by their first letters
/// (`p`ostgres, `m`ysql, m`a`riadb, `s`qlite), and its statement.
type Attempt = (&'static str, At, &'static str, &'static str);

const ATTEMPTS: &[Attempt] = &[
    ("plain write", Step, "pmas", "UPDATE victim SET n = 99"),
    ("plain write", Step, "pmas", "DELETE FROM victim"),
    ("plain write", Step, "pmas", "INSERT INTO victim VALUES (2, 99)"),
    ("plain write", Step, "mas", "REPLACE INTO victim VALUES (1, 99)"),
    ("plain write", Step, "ps", "INSERT INTO victim VALUES (1, 99) ON CONFLICT (id) DO UPDATE SET n = 99"),
    ("plain write", Step, "ma", "INSERT INTO victim VALUES (1, 99) ON DUPLICATE KEY UPDATE n = 99"),
    ("plain write", Step, "ps", "UPDATE victim SET n = 99 RETURNING n"),
    ("plain write", Step, "pma", "TRUNCATE TABLE victim"),
    (
        "plain write",
        Step,
        "p",
        "MERGE INTO victim v USING stockbench_sku s ON s.id = v.id WHEN MATCHED THEN UPDATE SET n = 99",
    ),
    ("plain write", Step, "ma", "UPDATE stockbench_sku s JOIN victim v ON v.id = s.id SET v.n = 99"),
    ("plain write", Step, "ma", "UPDATE stockbench_sku s, victim v SET v.n = 99"),
    ("plain write", Setup, "pmas", "DROP TABLE victim"),
    ("plain write", Setup, "pmas", "ALTER TABLE victim ADD COLUMN x INT"),
    ("plain write", Setup, "pmas", "CREATE INDEX victim_n ON victim (n)"),
    ("plain write", Setup, "p", "DROP TABLE IF EXISTS stockbench_x CASCADE"),
    ("plain write", Step, "pmas", "CREATE TABLE stockbench_late (id INT)"),
    ("schema", Step, "p", "UPDATE public.victim SET n = 99"),
    ("schema", Step, "s", "UPDATE main.victim SET n = 99"),
    ("schema", Step, "p", "INSERT INTO elsewhere.stockbench_x VALUES (1)"),
    ("schema", Step, "ma", "INSERT INTO mysql.stockbench_x VALUES (1)"),
    ("schema", Step, "s", "INSERT INTO temp.stockbench_x VALUES (1)"),
    ("name", Step, "pmas", "UPDATE stockbenchvictim SET n = 99"),
    ("name", Step, "p", "UPDATE \"STOCKBENCH_victim\" SET n = 99"),
    ("name", Step, "ps", "DELETE FROM \"stoc\u{212a}bench_x\""),
    ("name", Step, "ma", "DELETE FROM `stoc\u{212a}bench_x`"),
    ("name", Step, "pmas", "DELETE FROM stockbench_x\u{a0}y"),
    (
        "alias",
        Step,
        "ma",
        "DELETE FROM stockbench_v2 USING victim AS stockbench_v2 INNER JOIN stockbench_sku s ON s.id > 0",
    ),
    ("alias", Step, "ma", "DELETE stockbench_v2 FROM victim AS stockbench_v2"),
    (
        "alias",
        Step,
        "ma",
        "DELETE stockbench_a, stockbench_b FROM victim stockbench_a JOIN stockbench_sku stockbench_b",
    ),
    ("alias", Step, "ma", "UPDATE victim AS stockbench_v2 SET n = 99"),
    ("alias", Step, "ps", "UPDATE victim AS stockbench_v2 SET n = 99"),
    ("alias", Step, "ps", "DELETE FROM victim AS stockbench_v2"),
    ("alias", Step, "ma", "UPDATE (victim stockbench_v2 JOIN stockbench_sku s) SET stockbench_v2.n = 99"),
    ("CTE", Step, "p", "WITH w AS (DELETE FROM victim RETURNING 1) SELECT 1 FROM w"),
    (
        "CTE",
        Step,
        "p",
        "WITH stockbench_c AS (UPDATE victim SET n = 99 RETURNING n) SELECT n FROM stockbench_c",
    ),
    (
        "CTE",
        Step,
        "p",
        "WITH a AS (WITH b AS (INSERT INTO victim VALUES (3, 3) RETURNING 1) SELECT 1 FROM b) SELECT 1 FROM a",
    ),
    ("CTE", Step, "ma", "WITH stockbench_c AS (SELECT * FROM victim) UPDATE stockbench_c SET n = 99"),
    ("CTE", Step, "ma", "WITH stockbench_c AS (SELECT * FROM victim) DELETE FROM stockbench_c"),
    ("CTE", Step, "s", "WITH stockbench_c AS (SELECT * FROM victim) DELETE FROM victim"),
    (
        "comment",
        Step,
        "ma",
        "UPDATE stockbench_sku s /*M! JOIN victim v */ SET /*M! v.n = 99, */ s.stock = s.stock WHERE s.id = :sku_id",
    ),
    (
        "comment",
        Step,
        "ma",
        "UPDATE stockbench_sku s /*M!100100 JOIN victim v */ SET /*M!100100 v.n = 99, */ s.stock = s.stock",
    ),
    (
        "comment",
        Step,
        "ma",
        "UPDATE stockbench_sku s /*! JOIN victim v */ SET /*! v.n = 99, */ s.stock = s.stock",
    ),
    (
        "comment",
        Step,
        "ma",
        "UPDATE stockbench_sku s /*!50000 JOIN victim v */ SET /*!50000 v.n = 99, */ s.stock = s.stock",
    ),
    ("comment", Step, "ma", "SELECT /*+ SET_VAR(foreign_key_checks = 0) */ 1"),
    ("comment", Step, "p", "SELECT 1 /* /* */ ; DELETE FROM victim -- */ */"),
    ("comment", Step, "p", "SELECT 1 -- \\r; DELETE FROM victim"),
    ("comment", Step, "ma", "SELECT 1--1"),
    ("quotes", Step, "p", "SELECT $$'$$; DELETE FROM victim; --'"),
    ("quotes", Step, "ma", "SELECT 'a\\\\'; DELETE FROM victim; -- '"),
    ("quotes", Step, "ma", "SELECT \"a\""),
    ("quotes", Step, "p", "DELETE FROM U&\"v!0069ctim\" UESCAPE '!'"),
    ("several statements", Step, "pmas", "SELECT 1; DELETE FROM victim"),
    ("several statements", Setup, "pmas", "SELECT 1; DELETE FROM victim"),
    ("several statements", Invariant, "pmas", "SELECT 1 WHERE 1 = 0; DELETE FROM victim"),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child () INHERITS (victim)"),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child PARTITION OF victim DEFAULT"),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child (LIKE victim INCLUDING ALL)"),
    ("CREATE TABLE form", Setup, "ma", "CREATE TABLE stockbench_child LIKE victim"),
    ("CREATE TABLE form", Setup, "pmas", "CREATE TABLE stockbench_child AS SELECT * FROM victim"),
    ("CREATE TABLE form", Setup, "pmas", "CREATE TABLE stockbench_child (id INT REFERENCES victim (id))"),
    (
        "CREATE TABLE form",
        Setup,
        "pmas",
        "CREATE TABLE stockbench_child (id INT, FOREIGN KEY (id) REFERENCES victim (id) ON DELETE CASCADE)",
    ),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child (id INT DEFAULT evil())"),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child (id INT CHECK (evil() = 1))"),
    ("CREATE TABLE form", Setup, "p", "CREATE TABLE stockbench_child (id evildomain)"),
    ("CREATE TABLE form", Setup, "p", "CREATE TEMP TABLE stockbench_child (id INT)"),
    (
        "engine",
        Setup,
        "ma",
        "CREATE TABLE stockbench_m (id int primary key, n int) ENGINE=MERGE UNION=(victim) INSERT_METHOD=LAST",
    ),
    (
        "engine",
        Setup,
        "ma",
        "CREATE TABLE stockbench_m (id int primary key, n int) ENGINE=MRG_MYISAM UNION=(victim)",
    ),
    (
        "engine",
        Setup,
        "ma",
        "CREATE TABLE stockbench_m (id int) ENGINE=FEDERATED CONNECTION='mysql://root@127.0.0.1/test/victim'",
    ),
    ("engine", Setup, "ma", "CREATE TABLE stockbench_m (id int) ENGINE=CONNECT TABLE_TYPE=CSV FILE_NAME='x'"),
    ("engine", Setup, "ma", "CREATE TABLE stockbench_m (id int) DATA DIRECTORY='/tmp'"),
    ("engine", Setup, "s", "CREATE VIRTUAL TABLE stockbench_m USING fts5(content='victim')"),
    ("engine", Step, "ma", "UPDATE stockbench_merge SET n = 99"),
    ("inheritance", Step, "p", "UPDATE stockbench_parent SET n = 99"),
    ("inheritance", Step, "p", "DELETE FROM stockbench_parent"),
    ("inheritance", Setup, "p", "UPDATE stockbench_parent SET n = 99"),
    ("view", Step, "pmas", "UPDATE stockbench_v SET n = 99"),
    ("view", Setup, "pmas", "UPDATE stockbench_v SET n = 99"),
    ("view", Setup, "pmas", "DELETE FROM stockbench_v"),
    ("view", Step, "pma", "SELECT e FROM plainview"),
    ("view", Step, "pma", "SELECT e FROM viewofview"),
    ("view", Invariant, "pma", "SELECT e FROM plainview"),
    ("view", Step, "p", "TABLE plainview"),
    ("view", Setup, "pmas", "CREATE VIEW stockbench_w AS SELECT * FROM victim"),
    ("trigger, rule, key", Step, "pmas", "INSERT INTO stockbench_trigger VALUES (1)"),
    ("trigger, rule, key", Setup, "pmas", "INSERT INTO stockbench_trigger VALUES (1)"),
    ("trigger, rule, key", Step, "p", "INSERT INTO stockbench_rule VALUES (1)"),
    ("trigger, rule, key", Step, "pmas", "DELETE FROM stockbench_referenced"),
    ("trigger, rule, key", Step, "p", "INSERT INTO stockbench_default (id) VALUES (1)"),
    ("function", Step, "pma", "SELECT evil()"),
    ("function", Step, "p", "SELECT * FROM evil()"),
    ("function", Step, "p", "SELECT 1 FROM stockbench_sku, LATERAL evil()"),
    ("function", Step, "pma", "UPDATE stockbench_sku SET stock = evil()"),
    ("function", Step, "pma", "SELECT sleep()"),
    ("function", Step, "p", "SELECT random('x')"),
    ("function", Step, "ma", "SELECT random()"),
    ("function", Step, "ma", "SELECT hashtext()"),
    ("function", Step, "ma", "SELECT count (id) FROM victim"),
    ("function", Step, "p", "SELECT public.evil()"),
    ("function", Step, "p", "SELECT lower(v) FROM victim v"),
    ("function", Step, "p", "SELECT sum(v) FROM victim v"),
    ("function", Step, "p", "SELECT nextval('victim_id_seq')"),
    ("function", Step, "p", "SELECT setval('victim_id_seq', 99)"),
    ("function", Step, "p", "SELECT pg_terminate_backend(1)"),
    ("function", Step, "p", "SELECT pg_read_file('/etc/passwd')"),
    ("function", Step, "p", "SELECT lo_export(1, '/tmp/x')"),
    ("function", Step, "p", "SELECT query_to_xml('DELETE FROM victim', true, true, '')"),
    ("function", Step, "p", "SELECT set_config('search_path', 'x', false)"),
    ("function", Step, "p", "SELECT pg_advisory_lock(1)"),
    ("function", Step, "ma", "SELECT load_file('/etc/passwd')"),
    ("function", Step, "ma", "SELECT benchmark(1000000, 1)"),
    ("function", Step, "s", "SELECT load_extension('x')"),
    ("function", Step, "s", "SELECT writefile('x', 'y')"),
    ("attribute, operator, cast", Step, "p", "SELECT v.evilrow FROM victim v"),
    ("attribute, operator, cast", Step, "p", "SELECT (v).evilrow FROM victim v"),
    ("attribute, operator, cast", Step, "p", "SELECT victim.evilrow FROM victim"),
    ("attribute, operator, cast", Step, "p", "SELECT 1 FROM victim v WHERE v.evilrow = 1"),
    ("attribute, operator, cast", Invariant, "p", "SELECT v.evilrow FROM victim v"),
    ("attribute, operator, cast", Step, "p", "SELECT id FROM stockbench_sku WHERE 'x'::text + 1::bigint = 1"),
    ("attribute, operator, cast", Step, "p", "SELECT 1 OPERATOR(public.+) 1"),
    ("attribute, operator, cast", Step, "p", "SELECT 1::evildomain"),
    ("attribute, operator, cast", Step, "p", "SELECT CAST(1 AS evildomain)"),
    ("attribute, operator, cast", Step, "p", "SELECT evildomain '1'"),
    ("attribute, operator, cast", Step, "p", "SELECT x FROM json_to_recordset('[{}]') AS r(x evildomain)"),
    ("procedure", Step, "pma", "CALL evilprocedure()"),
    ("procedure", Step, "p", "DO 'BEGIN DELETE FROM victim; END'"),
    ("procedure", Step, "ma", "DO evil()"),
    (
        "procedure",
        Setup,
        "p",
        "CREATE FUNCTION stockbench_f() RETURNS int LANGUAGE sql AS 'DELETE FROM victim RETURNING 1'",
    ),
    (
        "procedure",
        Setup,
        "ma",
        "CREATE TRIGGER stockbench_t AFTER INSERT ON stockbench_sku FOR EACH ROW DELETE FROM victim",
    ),
    ("prepared statement", Step, "p", "PREPARE stockbench_p AS DELETE FROM victim"),
    ("prepared statement", Step, "ma", "PREPARE stockbench_p FROM 'DELETE FROM victim'"),
    ("prepared statement", Step, "pma", "EXECUTE stockbench_p"),
    ("prepared statement", Step, "a", "EXECUTE IMMEDIATE 'DELETE FROM victim'"),
    ("session", Step, "pma", "SET SESSION AUTHORIZATION x"),
    ("session", Step, "ma", "SELECT @x := 1"),
    ("session", Step, "ma", "SELECT @@global.max_connections"),
    ("session", Step, "ma", "SET GLOBAL max_connections = 1"),
    ("session", Step, "p", "SET search_path = elsewhere"),
    ("session", Step, "p", "SELECT 1 FROM pg_stat_activity WHERE pg_cancel_backend(pid)"),
    ("session", Step, "ma", "KILL 1"),
    ("session", Step, "p", "NOTIFY victim"),
    ("session", Step, "s", "PRAGMA writable_schema = on"),
    ("session", Step, "s", "ATTACH DATABASE 'other.db' AS other"),
    ("session", Step, "s", "VACUUM"),
    ("file", Step, "ma", "SELECT id INTO OUTFILE './stockbench.txt' FROM victim"),
    ("file", Step, "ma", "SELECT id FROM victim INTO OUTFILE './stockbench.txt'"),
    ("file", Step, "ma", "SELECT id FROM victim INTO DUMPFILE './stockbench.txt'"),
    ("file", Invariant, "ma", "SELECT id FROM victim INTO OUTFILE './stockbench.txt'"),
    ("file", Step, "ma", "SELECT id FROM victim INTO @x"),
    ("file", Step, "p", "COPY victim TO '/tmp/stockbench.txt'"),
    ("file", Step, "p", "COPY victim TO PROGRAM 'true'"),
    ("file", Step, "p", "COPY stockbench_sku FROM '/etc/passwd'"),
    ("file", Step, "ma", "LOAD DATA INFILE '/etc/passwd' INTO TABLE stockbench_sku"),
    ("file", Step, "p", "SELECT * INTO victim2 FROM victim"),
    ("file", Step, "s", "VACUUM INTO 'copy.db'"),
    ("invariant, audit, pending", Invariant, "pma", "SELECT evil()"),
    ("invariant, audit, pending", Invariant, "p", "SELECT pg_terminate_backend(1)"),
    (
        "invariant, audit, pending",
        Invariant,
        "p",
        "WITH w AS (DELETE FROM victim RETURNING 1) SELECT 1 FROM w",
    ),
    ("invariant, audit, pending", Invariant, "pmas", "DELETE FROM stockbench_sku"),
    ("invariant, audit, pending", Invariant, "pma", "SELECT id FROM stockbench_sku FOR UPDATE"),
    ("invariant, audit, pending", Stock, "pma", "SELECT evil() AS sku_id, 1 AS stock"),
    ("invariant, audit, pending", Stock, "p", "SELECT id AS sku_id, v.evilrow AS stock FROM victim v"),
    ("invariant, audit, pending", Pending, "pma", "SELECT evil()"),
    ("invariant, audit, pending", Pending, "pmas", "DELETE FROM victim"),
    ("lock", Step, "pma", "SELECT n FROM victim FOR UPDATE"),
    ("lock", Step, "pma", "SELECT n FROM victim FOR SHARE"),
    ("lock", Step, "pma", "SELECT s.id FROM stockbench_sku s JOIN victim v ON v.id = s.id FOR UPDATE"),
    ("lock", Step, "ma", "SELECT n FROM victim LOCK IN SHARE MODE"),
    ("lock", Step, "p", "LOCK TABLE victim"),
    ("lock", Step, "ma", "LOCK TABLES victim WRITE"),
    ("lock", Step, "ma", "FLUSH TABLES WITH READ LOCK"),
];

const SALE: &str = r#"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
unique = "duplicate"
"#;

fn strategy(at: At, sql: &str) -> String {
    let sql = format!("'''{sql}'''").replace("\\r", "\r").replace("\\\\", "\\");
    // A carriage return needs an escape in TOML.
    let sql = if sql.contains('\r') { sql.replace("'''", "\"").replace('\r', "\\r") } else { sql };
    match at {
        Setup => format!("summary = \"x\"\n[[setup]]\nsql = {sql}\n[[transaction]]{SALE}"),
        Step => format!("summary = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = {sql}{SALE}"),
        Invariant => {
            format!("summary = \"x\"\n[[invariant]]\nsql = {sql}\nsays = \"x\"\n[[transaction]]{SALE}")
        }
        Stock => format!("summary = \"x\"\naudit = {{ stock = {sql} }}\n[[transaction]]{SALE}"),
        Pending => format!(
            "summary = \"x\"\n[[transaction]]{SALE}\n[[flow]]\nname = \"f\"\nevery = \"1s\"\npending = {sql}\n\
             [[flow.transaction]]\n[[flow.transaction.step]]\nsql = \"SELECT 1 FROM stockbench_sku WHERE 1 = 0\"\nnone = \"idle\"\n"
        ),
    }
}

const fn letter(backend: Backend) -> char {
    match backend {
        Backend::Postgres => 'p',
        Backend::MySql => 'm',
        Backend::MariaDb => 'a',
        Backend::Sqlite => 's',
    }
}

/// What the attempts find on a database: somebody else's table, and what leads there.
fn objects(backend: Backend) -> &'static [&'static str] {
    const COMMON: [&str; 2] =
        ["CREATE TABLE victim (id INT PRIMARY KEY, n INT)", "INSERT INTO victim VALUES (1, 10)"];
    let own: &'static [&'static str] = match backend {
        Backend::Postgres => &[
            COMMON[0],
            COMMON[1],
            "CREATE SEQUENCE victim_id_seq",
            "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE FUNCTION sleep() RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE FUNCTION random(text) RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE FUNCTION evilrow(victim) RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE FUNCTION lower(victim) RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE FUNCTION evilsum(int, victim) RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE AGGREGATE sum(victim) (SFUNC = evilsum, STYPE = int)",
            "CREATE FUNCTION evilplus(text, bigint) RETURNS int LANGUAGE sql AS 'UPDATE victim SET n = 99 RETURNING 1'",
            "CREATE OPERATOR + (LEFTARG = text, RIGHTARG = bigint, FUNCTION = evilplus)",
            "CREATE DOMAIN evildomain AS int CHECK (evil() = VALUE)",
            "CREATE PROCEDURE evilprocedure() LANGUAGE sql AS 'DELETE FROM victim'",
            "CREATE VIEW plainview AS SELECT evil() AS e",
            "CREATE VIEW viewofview AS SELECT e FROM plainview",
            "CREATE VIEW stockbench_v AS SELECT * FROM victim",
            "CREATE TABLE stockbench_parent (id INT, n INT)",
            "ALTER TABLE victim INHERIT stockbench_parent",
            "CREATE TABLE stockbench_trigger (id INT)",
            "CREATE FUNCTION evilfire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM victim; RETURN NEW; END'",
            "CREATE TRIGGER fire AFTER INSERT ON stockbench_trigger FOR EACH ROW EXECUTE FUNCTION evilfire()",
            "CREATE TABLE stockbench_rule (id INT)",
            "CREATE RULE fire AS ON INSERT TO stockbench_rule DO ALSO DELETE FROM victim",
            "CREATE TABLE stockbench_referenced (id INT PRIMARY KEY)",
            "CREATE TABLE victim_of_key (id INT REFERENCES stockbench_referenced ON DELETE CASCADE)",
            "CREATE TABLE stockbench_default (id INT, n INT DEFAULT evil())",
        ],
        Backend::MySql | Backend::MariaDb => &[
            "CREATE TABLE victim (id INT PRIMARY KEY, n INT) ENGINE=MyISAM",
            COMMON[1],
            "CREATE FUNCTION evil() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE victim SET n = 99; RETURN 1; END",
            "CREATE FUNCTION random() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE victim SET n = 99; RETURN 1; END",
            "CREATE FUNCTION hashtext() RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE victim SET n = 99; RETURN 1; END",
            "CREATE FUNCTION `count` (a INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA BEGIN UPDATE victim SET n = 99; RETURN 1; END",
            "CREATE PROCEDURE evilprocedure() DELETE FROM victim",
            "CREATE VIEW plainview AS SELECT evil() AS e",
            "CREATE VIEW viewofview AS SELECT e FROM plainview",
            "CREATE VIEW stockbench_v AS SELECT * FROM victim",
            "CREATE TABLE stockbench_merge (id INT PRIMARY KEY, n INT) ENGINE=MERGE UNION=(victim) INSERT_METHOD=LAST",
            "CREATE TABLE stockbench_trigger (id INT)",
            "CREATE TRIGGER fire AFTER INSERT ON stockbench_trigger FOR EACH ROW DELETE FROM victim",
            "CREATE TABLE stockbench_referenced (id INT PRIMARY KEY)",
            "CREATE TABLE victim_of_key (id INT, FOREIGN KEY (id) REFERENCES stockbench_referenced (id) ON DELETE CASCADE)",
        ],
        Backend::Sqlite => &[
            COMMON[0],
            COMMON[1],
            "CREATE VIEW stockbench_v AS SELECT * FROM victim",
            "CREATE TRIGGER update_v INSTEAD OF UPDATE ON stockbench_v BEGIN UPDATE victim SET n = NEW.n; END",
            "CREATE TRIGGER delete_v INSTEAD OF DELETE ON stockbench_v BEGIN DELETE FROM victim; END",
            "CREATE TABLE stockbench_trigger (id INT)",
            "CREATE TRIGGER fire AFTER INSERT ON stockbench_trigger BEGIN DELETE FROM victim; END",
            "CREATE TABLE stockbench_referenced (id INT PRIMARY KEY)",
            "CREATE TABLE victim_of_key (id INT REFERENCES stockbench_referenced ON DELETE CASCADE)",
        ],
    };
    own
}

fn nothing_is_written_outside_our_own_tables(place: &Place) {
    for sql in objects(place.backend) {
        place.execute(sql);
    }

    let mut failures = String::new();
    let mine = ATTEMPTS.iter().filter(|(_, _, databases, _)| databases.contains(letter(place.backend)));
    for (kind, at, _, sql) in mine {
        let file = place.write("attempt.toml", &strategy(*at, sql));
        let said = place.stockbench(&["run", "-s", &file, "-n", "5", "-c", "1"]);
        let victim = query(&place.url, "SELECT sum(id * 1000 + n) FROM victim");
        let is_refused =
            said.code == 2 && said.stderr.lines().count() == 1 && said.stderr.contains("--allow-writes");
        if !is_refused || victim != "1010" {
            writeln!(failures, "{kind}, {at:?}: {sql}\n    victim {victim}, {said:?}").unwrap();
            place.execute("DELETE FROM victim");
            place.execute("INSERT INTO victim VALUES (1, 10)");
        }
    }

    assert!(failures.is_empty(), "not refused:\n{failures}");
}

/// Reading a view or another table, and writing ours beside, is what people do.
fn what_only_reads_and_writes_ours_still_runs(place: &Place) {
    place.execute("CREATE TABLE product (id INT PRIMARY KEY, price INT)");
    place.execute("INSERT INTO product VALUES (1, 10)");
    place.execute(
        "CREATE VIEW priced AS SELECT id, coalesce(price, 0) AS price, lower('A') AS a FROM product",
    );
    let text = format!(
        "summary = \"x\"\n[[setup]]\nsql = \"DROP TABLE IF EXISTS stockbench_note\"\n[[setup]]\n\
         sql = \"CREATE TABLE stockbench_note (id INT PRIMARY KEY, price INT NOT NULL CHECK (price >= 0))\"\n[[setup]]\n\
         sql = \"INSERT INTO stockbench_note SELECT id, price FROM priced\"\n\
         [[invariant]]\nsql = \"SELECT n.id FROM stockbench_note n JOIN product p ON p.id = n.id WHERE p.price <> n.price\"\n\
         says = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = \"SELECT max(price) AS price FROM priced\"\n\
         yields = [\"price\"]{SALE}"
    );
    let file = place.write("mine.toml", &text);
    let said = place.stockbench(&["run", "-s", &file, "-n", "20", "-c", "2"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn the_page_counts_the_attempts() {
    let mut counts: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (kind, _, databases, _) in ATTEMPTS {
        let of_kind = counts.entry(kind).or_default();
        for (count, letter) in of_kind.iter_mut().zip("pmas".chars()) {
            *count += usize::from(databases.contains(letter));
        }
    }

    let mut table = "| kind | PostgreSQL | MySQL | MariaDB | SQLite |\n|---|---|---|---|---|\n".to_owned();
    let mut sum = [0; 4];
    for (kind, [postgres, mysql, mariadb, sqlite]) in &counts {
        writeln!(table, "| {kind} | {postgres} | {mysql} | {mariadb} | {sqlite} |").unwrap();
        for (sum, count) in sum.iter_mut().zip([postgres, mysql, mariadb, sqlite]) {
            *sum += count;
        }
    }
    writeln!(table, "| all | {} | {} | {} | {} |", sum[0], sum[1], sum[2], sum[3]).unwrap();

    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/write-guard.md")).unwrap();
    assert!(page.contains(&table), "docs/write-guard.md should have:\n{table}");
}
