//! How far the jobs have come that go through all tenants or all time.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Fault,
    store::table::{Table, keys, rows::item},
};

/// The progress of jobs.
#[derive(Debug, Clone)]
pub struct JobProgress {
    table: Table,
}

impl JobProgress {
    pub(crate) fn new(table: Table) -> Self {
        Self { table }
    }

    /// How far a job has come; `None` before its first run.
    pub async fn get<T: DeserializeOwned>(&self, job: &str) -> Result<Option<T>, Fault> {
        self.table.get_row(keys::progress(job), true).await
    }

    /// Saves how far a job has come.
    pub async fn save<T: Serialize>(&self, job: &str, progress: &T) -> Result<(), Fault> {
        let put = self.table.put(item(keys::progress(job), progress)?);
        put.send().await.map_err(Fault::on("saving the progress of a job"))?;
        Ok(())
    }
}
