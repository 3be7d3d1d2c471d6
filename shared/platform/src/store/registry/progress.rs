//! How far the jobs have come that go through all tenants or all time.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Fault,
    store::table::{Item, Table, attributes::number, keys, put_if, rows::item},
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

    /// Takes the lease on a job until `until`, by the machine's clock, so that no two runs do the same
    /// work; false where another run has it.
    pub async fn lease(&self, job: &str, until: Timestamp, now: Timestamp) -> Result<bool, Fault> {
        let put = self
            .table
            .put(lease(job, until))
            .condition_expression("attribute_not_exists(#until) OR #until <= :now")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":now", number(now.millis()));
        put_if(put, "taking the lease on a job").await
    }

    /// Returns a lease that was taken until `until`, unless another run has it by now.
    pub async fn release(&self, job: &str, until: Timestamp) -> Result<(), Fault> {
        let put = self
            .table
            .put(lease(job, Timestamp::EPOCH))
            .condition_expression("#until = :until")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", number(until.millis()));
        put_if(put, "returning the lease on a job").await.map(|_| ())
    }
}

fn lease(job: &str, until: Timestamp) -> Item {
    let (pk, sk) = keys::job_lease(job);
    Item::from([
        ("pk".to_owned(), AttributeValue::S(pk)),
        ("sk".to_owned(), AttributeValue::S(sk)),
        ("until".to_owned(), number(until.millis())),
    ])
}
