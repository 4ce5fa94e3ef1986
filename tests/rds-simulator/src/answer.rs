//! What the API answers, and how it is written: JSON or XML.
//!
//! Shapes: <https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism>. A success of action `X` is an object, or
//! an element `XResponse` in XML; an error has `Code`, `Message`, `RequestId`, `HostId` and `Recommend`, in XML in an
//! element `Error`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::action::Service;

/// The members of an answer.
pub(crate) type Fields = Map<String, Value>;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Xml,
}

impl Format {
    fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json;charset=utf-8",
            Self::Xml => "text/xml;charset=utf-8",
        }
    }
}

/// An error as the API reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// HTTP status.
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// Why access was denied, for RAM's denials.
    pub(crate) access_denied_detail: Option<Value>,
    /// Further response headers.
    pub(crate) headers: Vec<(&'static str, String)>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            access_denied_detail: None,
            headers: Vec::new(),
        }
    }

    /// A mandatory parameter is absent or empty: `Missing{ParameterName}`.
    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new(
            400,
            format!("Missing{parameter}"),
            format!("{parameter} is mandatory for this action."),
        )
    }
}

/// A whole answer, not yet written in a [`Format`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The error code, if it is an error.
    pub(crate) code: Option<String>,
    headers: Vec<(&'static str, String)>,
    content: Content,
}

/// What is in the body.
#[derive(Debug, Clone, PartialEq)]
enum Content {
    Fields {
        /// XML's root element.
        root: String,
        fields: Fields,
    },
    Text(String),
}

impl Answer {
    /// A success of an action.
    pub(crate) fn success(action: &str, request_id: &str, mut fields: Fields) -> Self {
        fields.insert("RequestId".to_owned(), request_id.into());
        Self {
            status: 200,
            code: None,
            headers: vec![("x-acs-request-id", request_id.to_owned())],
            content: Content::Fields {
                root: format!("{action}Response"),
                fields,
            },
        }
    }

    /// A success with nothing but these members, as services give that are no APIs.
    pub(crate) fn bare(fields: Fields) -> Self {
        Self {
            status: 200,
            code: None,
            headers: Vec::new(),
            content: Content::Fields {
                root: "Response".to_owned(),
                fields,
            },
        }
    }

    /// Plain text; `code` if it is an error.
    pub(crate) fn text(status: u16, code: Option<String>, text: String) -> Self {
        Self {
            status,
            code,
            headers: Vec::new(),
            content: Content::Text(text),
        }
    }

    /// An error of a service, as sent to a client that called `host`.
    pub(crate) fn error(error: ApiError, service: Service, request_id: &str, host: &str) -> Self {
        let Some(product) = service.product() else {
            return Self::text(error.status, Some(error.code), error.message);
        };
        let mut fields = Fields::new();
        fields.insert("RequestId".to_owned(), request_id.into());
        fields.insert("HostId".to_owned(), host.into());
        fields.insert("Code".to_owned(), error.code.clone().into());
        fields.insert("Message".to_owned(), error.message.into());
        fields.insert(
            "Recommend".to_owned(),
            format!(
                "https://api.aliyun.com/troubleshoot?q={}&product={product}&requestId={request_id}",
                error.code,
            )
            .into(),
        );
        if let Some(detail) = error.access_denied_detail {
            fields.insert("AccessDeniedDetail".to_owned(), detail);
        }
        let mut headers = error.headers;
        headers.push(("x-acs-request-id", request_id.to_owned()));
        Self {
            status: error.status,
            code: Some(error.code),
            headers,
            content: Content::Fields {
                root: "Error".to_owned(),
                fields,
            },
        }
    }

    /// Response headers beside the content type.
    pub(crate) fn headers(&self) -> &[(&'static str, String)] {
        &self.headers
    }

    pub(crate) fn content_type(&self, format: Format) -> &'static str {
        match self.content {
            Content::Fields { .. } => format.content_type(),
            Content::Text(_) => "text/plain;charset=utf-8",
        }
    }

    /// The body's text.
    pub(crate) fn body(&self, format: Format) -> String {
        match (&self.content, format) {
            (Content::Text(text), _) => text.clone(),
            (Content::Fields { fields, .. }, Format::Json) => {
                Value::Object(fields.clone()).to_string()
            }
            (Content::Fields { root, fields }, Format::Xml) => {
                let mut text = String::from("<?xml version='1.0' encoding='UTF-8'?>");
                write_element(&mut text, root, &Value::Object(fields.clone()));
                text
            }
        }
    }
}

/// A list is written as its element repeated, as Alibaba Cloud does; hence an empty list leaves no trace.
fn write_element(text: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        for item in items {
            write_element(text, name, item);
        }
        return;
    }
    // Writing to a String cannot fail.
    let _ = write!(text, "<{name}>");
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                write_element(text, member, value);
            }
        }
        Value::String(string) => escape(text, string),
        Value::Null => {}
        other => escape(text, &other.to_string()),
    }
    let _ = write!(text, "</{name}>");
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // XML 1.0 has no way to write control characters, not even as a reference.
            control if control.is_control() && !matches!(control, '\t' | '\n' | '\r') => {
                text.push('\u{fffd}');
            }
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Fields {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn success_in_both_formats() {
        let answer = Answer::success(
            "DescribeAccounts",
            "R-1",
            fields(
                &json!({"Accounts": {"DBInstanceAccount": [{"AccountName": "a<b"}, {"AccountName": "c&d", "PrivExceeded": 0}]}}),
            ),
        );
        assert_eq!(
            answer.body(Format::Json),
            r#"{"Accounts":{"DBInstanceAccount":[{"AccountName":"a<b"},{"AccountName":"c&d","PrivExceeded":0}]},"RequestId":"R-1"}"#
        );
        assert_eq!(
            answer.body(Format::Xml),
            "<?xml version='1.0' encoding='UTF-8'?><DescribeAccountsResponse><Accounts><DBInstanceAccount><AccountName>a&lt;b\
             </AccountName></DBInstanceAccount><DBInstanceAccount><AccountName>c&amp;d</AccountName><PrivExceeded>0</PrivExceeded>\
             </DBInstanceAccount></Accounts><RequestId>R-1</RequestId></DescribeAccountsResponse>"
        );
    }

    #[test]
    fn an_error_has_the_documented_members() {
        let answer = Answer::error(
            ApiError::missing("AccountName"),
            Service::Rds,
            "R-2",
            "rds.aliyuncs.com",
        );
        let body: Value = serde_json::from_str(&answer.body(Format::Json)).unwrap_or_default();
        assert_eq!(body["Code"], "MissingAccountName");
        assert_eq!(body["Message"], "AccountName is mandatory for this action.");
        assert_eq!(body["RequestId"], "R-2");
        assert_eq!(body["HostId"], "rds.aliyuncs.com");
        assert!(body["Recommend"].is_string());
        assert!(answer.body(Format::Xml).starts_with(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>MissingAccountName</Code>"
        ));
        assert!(
            answer
                .headers()
                .contains(&("x-acs-request-id", "R-2".to_owned()))
        );
    }
}
