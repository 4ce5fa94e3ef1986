//! `DescribeDBInstanceAttribute`:
//! <https://www.alibabacloud.com/help/en/apsaradb-for-rds/latest/api-doc-rds-2014-08-15-api-doc-describedbinstanceattribute>.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{errors, instance::Instance};
use crate::answer::{ApiError, Fields};

pub(super) fn perform(instance: Option<&mut Instance>, now: Timestamp) -> Result<Fields, ApiError> {
    let instance = instance.ok_or_else(errors::instance_not_found)?;
    let items = if instance.described {
        vec![describe(instance, now)]
    } else {
        Vec::new()
    };
    let mut fields = Fields::new();
    fields.insert("Items".to_owned(), json!({ "DBInstanceAttribute": items }));
    Ok(fields)
}

fn describe(instance: &mut Instance, now: Timestamp) -> Value {
    let status = instance.status.read(now);
    // Engine versions such as 8.0 are numbers in some of the documentation's samples, 2017_ent never can be.
    let version = instance
        .engine_version
        .parse::<f64>()
        .ok()
        .filter(|_| instance.numbers);
    let port = if instance.engine == "PostgreSQL" {
        5432
    } else {
        3306
    };
    let mut attribute = json!({
        "DBInstanceId": instance.id,
        "DBInstanceStatus": status,
        "DBInstanceType": "Primary",
        "DBInstanceClass": "mysql.n2.medium.2c",
        "DBInstanceNetType": "Intranet",
        "DBInstanceMemory": 4096,
        "DBInstanceStorage": 20,
        "InstanceNetworkType": "VPC",
        "Engine": instance.engine,
        "EngineVersion": version.map_or_else(|| instance.engine_version.clone().into(), Value::from),
        "Category": instance.category,
        "RegionId": instance.region,
        "ZoneId": format!("{}-b", instance.region),
        "ConnectionString": format!("{}.mysql.rds.aliyuncs.com", instance.id),
        "Port": if instance.numbers { json!(port) } else { json!(port.to_string()) },
        "PayType": "Postpaid",
        "CreationTime": "2026-01-01T00:00:00Z",
        "ReadOnlyDBInstanceIds": { "ReadOnlyDBInstanceId": [] },
    });
    if let (Some(mode), Value::Object(members)) = (&instance.lock_mode, &mut attribute) {
        members.insert("LockMode".to_owned(), mode.clone().into());
    }
    attribute
}
