use serde_json::json;

use super::*;

fn judge(alarm: Value, measured: &[&[f64]]) -> bool {
    let alarm = Alarm::of("s", alarm);
    let measured: Vec<_> =
        alarm.watched().into_iter().zip(measured.iter().map(|values| values.to_vec())).collect();
    alarm.is_breached_by(alarm.result(&measured))
}

#[test]
fn alarms_are_judged_by_statistic_threshold_and_expression() {
    let plain = |statistic: &str, missing: &str| {
        json!({
            "AlarmName": "s-a", "Namespace": "N", "MetricName": "M", "Statistic": statistic,
            "Threshold": "3", "ComparisonOperator": "GreaterThanThreshold", "TreatMissingData": missing,
        })
    };
    for (statistic, missing, values, expected) in [
        ("Sum", "notBreaching", &[2.0, 2.0][..], true),
        ("Maximum", "notBreaching", &[2.0, 2.0], false),
        ("Maximum", "notBreaching", &[], false),
        ("Maximum", "breaching", &[], true),
    ] {
        assert_eq!(judge(plain(statistic, missing), &[values]), expected, "{statistic} {values:?}");
    }
    let stat = |id: &str| {
        let metric = json!({ "Namespace": "N", "MetricName": id });
        json!({ "Id": id, "MetricStat": { "Metric": metric, "Stat": "Sum" } })
    };
    let share = json!({
        "AlarmName": "s-b", "Threshold": 95.0, "ComparisonOperator": "LessThanThreshold",
        "Metrics": [{ "Id": "r", "Expression": "IF(a >= 20, 100 * b / a, 100)" }, stat("a"), stat("b")],
    });
    for (attempts, successes, expected) in
        [(20.0, 19.0, false), (20.0, 18.0, true), (19.0, 0.0, false), (2000.0, 1899.0, true)]
    {
        assert_eq!(judge(share.clone(), &[&[attempts], &[successes]]), expected, "{attempts} {successes}");
    }
    assert!(!judge(share, &[&[], &[]]));
}

#[test]
fn embedded_metrics_are_found_by_namespace_name_and_dimensions() {
    let line = |service: &str| {
        json!({
            "service": service, "M": [1, 2],
            "_aws": { "CloudWatchMetrics": [
                { "Namespace": "N", "Dimensions": [["service"]], "Metrics": [{ "Name": "M" }] },
            ] },
        })
        .to_string()
    };
    let logs = [line("x"), "START".to_owned(), line("y")].join("\n");
    let watched = |metric: &str, dimensions: &[(&str, &str)]| WatchedMetric {
        id: String::new(),
        namespace: "N".to_owned(),
        metric: metric.to_owned(),
        dimensions: dimensions.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        statistic: "Sum".to_owned(),
    };
    assert_eq!(embedded(&logs, &watched("M", &[("service", "x")])), [1.0, 2.0]);
    assert_eq!(embedded(&logs, &watched("M", &[])), [0.0; 0]);
    assert_eq!(embedded(&logs, &watched("L", &[("service", "x")])), [0.0; 0]);
}
