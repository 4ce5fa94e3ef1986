//! Tables as `kubectl get` prints them.

use anyhow::Result;
use http::Request;
use http::header::ACCEPT;
use kube::{Client, Resource};
use rds_password_operator::api::DatabaseAccountPassword;
use serde::Deserialize;
use serde_json::Value;

/// How kubectl asks for a table instead of objects: the server then chooses the columns and renders the cells
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>).
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// kubectl leaves this many spaces between two columns.
const GAP: usize = 3;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    column_definitions: Vec<Column>,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    priority: i32,
}

#[derive(Deserialize)]
struct Row {
    cells: Vec<Value>,
}

/// What `kubectl get dap` prints for a namespace.
///
/// # Errors
/// When the API server does not answer with a table.
pub(crate) async fn of_resources(client: &Client, namespace: &str) -> Result<Vec<String>> {
    let path = DatabaseAccountPassword::url_path(&(), Some(namespace));
    let request = Request::get(path)
        .header(ACCEPT, AS_TABLE)
        .body(Vec::new())?;
    Ok(render(&client.request(request).await?))
}

fn render(table: &Table) -> Vec<String> {
    // The others are for `-o wide`.
    let shown = |index: &usize| table.column_definitions[*index].priority == 0;
    let columns: Vec<usize> = (0..table.column_definitions.len()).filter(shown).collect();
    let header = columns
        .iter()
        .map(|column| table.column_definitions[*column].name.to_uppercase())
        .collect();
    let rows = table.rows.iter().map(|row| {
        let cell = |column: &usize| row.cells.get(*column).map(text).unwrap_or_default();
        columns.iter().map(cell).collect()
    });
    aligned(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}

fn text(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Lines with cells below each other.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}", width = width + GAP));
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}
