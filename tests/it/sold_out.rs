//! Stock that runs out ends what can be measured: it does not by default where a run is there to
//! be measured, and where it does every report says when.

use crate::support::{Backend, Place, on_every_database, outcome, place, stockbench};

on_every_database!(
    a_run_for_a_time_or_at_a_rate_does_not_sell_out,
    a_report_says_when_the_stock_was_sold_out
);

fn a_run_for_a_time_or_at_a_rate_does_not_sell_out(place: &Place) {
    for load in [&["--duration", "1s", "-c", "8"][..], &["--rate", "400", "--orders", "400"]] {
        let (code, report) = place.run(&[&["-s", "atomic"], load].concat());

        assert_eq!((code, outcome(&report, "sold_out")), (0, 0), "{report:#}");
        assert!(outcome(&report, "deducted") > 0, "{report:#}");
        assert_eq!(report["config"]["stock_lasts"], true, "{report:#}");
        assert_eq!(report["first_refusal_s"], serde_json::Value::Null);
    }

    let said = place.stockbench(&["run", "--duration", "300ms", "-c", "2"]);
    let seeded =
        "20,000 units of each SKU seeded, as many as do not run out, so that nobody met the last one";
    assert!(said.stdout.contains(seeded), "{said:?}");
}

fn a_report_says_when_the_stock_was_sold_out(place: &Place) {
    let file = place.path("run.json").display().to_string();
    let load = ["--rate", "100", "--duration", "2s", "--skus", "1", "--stock", "20", "-c", "8"];
    let said = place.stockbench(&[&["run", "-s", "atomic", "--json", &file][..], &load].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();

    let [last_sale, first_refusal, elapsed] =
        ["last_sale_s", "first_refusal_s", "elapsed_s"].map(|figure| report[figure].as_f64().unwrap());
    assert!(0.0 < last_sale && last_sale < elapsed && first_refusal < elapsed, "{report:#}");
    assert_eq!(report["config"]["stock_lasts"], false);

    let figures = format!("after {last_sale:.2} s of {elapsed:.2} s");
    assert!(said.stdout.contains(&format!("sold out   {figures}")), "{said:?}");
    let page = place.path("page.html").display().to_string();
    let markdown = stockbench(place.folder.path(), &["report", &file, "--markdown", "--html", &page]);
    assert!(markdown.stdout.contains(&format!("sold out {figures}")), "{markdown:?}");
    assert!(std::fs::read_to_string(page).unwrap().contains(&format!("Sold out {figures}")));
}

#[test]
fn stock_that_is_sold_out_in_part_is_not_called_sold_out() {
    let Some(place) = place(Backend::Sqlite) else { return };
    // An order of two units is refused where one is left.
    let load = ["--skus", "1", "--stock", "21", "--quantity", "2..2", "--orders", "50", "-c", "4"];
    let said = place.stockbench(&[&["run", "-s", "atomic"][..], &load].concat());

    assert!(said.stdout.contains("sold out   not all of it: the first order was refused"), "{said:?}");
}
