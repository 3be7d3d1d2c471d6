//! Drills about the daily copies of tables. The stand-in makes none, so the drills count them.

use testkit::Stack;

use super::{find, meter::Meter};

/// Jobs that failed.
const FAILED: &str = "NumberOfBackupJobsFailed";

/// Alarms on copies that were not made, and what they count. They fire as long as nothing was measured.
pub(super) const SILENT: [(&str, &str); 2] = [
    ("backups-silent", "NumberOfBackupJobsCompleted"),
    ("backup-copies-silent", "NumberOfCopyJobsCompleted"),
];

/// A table that could not be copied.
pub(super) fn fail(meter: &Meter) {
    meter.record(FAILED, 1.0);
}

/// A day without copies, one with two of three tables, and one with all.
pub(super) async fn are_missing(stack: &Stack, meter: &Meter) {
    for (name, metric) in SILENT {
        let alarm = find(stack, &[name]).await.remove(0);
        let mut fires = Vec::new();
        for copies in [None, Some(2.0), Some(1.0)] {
            if let Some(copies) = copies {
                meter.record(metric, copies);
            }
            fires.push(alarm.is_breached_by(alarm.result(&meter.measure(&alarm).await)));
        }
        assert_eq!(fires, [true, true, false], "{name}");
    }
}
