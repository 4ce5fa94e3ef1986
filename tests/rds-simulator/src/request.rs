//! A request as it came over HTTP, and what is read out of it before anything is believed.

use hyper::{HeaderMap, body::Bytes};
use percent_encoding::percent_decode_str;

use crate::{
    answer::{ApiError, Format},
    parameters::Parameters,
    secret::Password,
};

/// ACS3's name for itself, in `Authorization` and in the string to sign.
pub(crate) const ACS3_ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Names under which Alibaba Cloud's actions take a password.
const PASSWORD_PARAMETERS: [&str; 3] = ["AccountPassword", "NewAccountPassword", "Password"];

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureMethod {
    /// RPC, HMAC-SHA1, `SignatureVersion=1.0`: what the classic SDKs send.
    RpcHmacSha1,
    /// V3, `ACS3-HMAC-SHA256`: what the current SDKs send.
    Acs3HmacSha256,
    /// Not at all: neither a key's id nor a signature is in it.
    Unsigned,
}

/// Where a request has what belongs to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// In parameters.
    Rpc,
    /// In headers.
    Acs3,
}

/// ACS3's header `Authorization`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorization {
    /// The access key's id.
    pub(crate) credential: String,
    /// Names of the signed headers, joined with `;`.
    pub(crate) signed_headers: String,
    /// In lower-case hex.
    pub(crate) signature: String,
}

impl Authorization {
    fn parse(header: &str) -> Option<Self> {
        let parts = header.strip_prefix(ACS3_ALGORITHM)?;
        let part = |name: &str| {
            let values = parts
                .split(',')
                .filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            values
                .filter(|value| !value.is_empty())
                .map(str::to_owned)
                .next()
        };
        Some(Self {
            credential: part("Credential")?,
            signed_headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

/// An HTTP request with its whole body. It may hold a password, hence no `Debug`.
#[derive(Clone)]
pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The raw query string.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A request taken apart. Nothing in it is verified yet.
#[derive(Clone)]
pub(crate) struct ParsedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) style: Style,
    /// ACS3's, if it is there and well-formed.
    pub(crate) authorization: Option<Authorization>,
    /// Query and form body together; if signed with ACS3 the query alone, since the parameters are declared `in: query`.
    pub(crate) parameters: Parameters,
    /// Whether the URL holds a password.
    pub(crate) password_in_url: bool,
    /// The password that was sent, wherever it was.
    pub(crate) password: Option<Password>,
    /// Whether the URL holds an OIDC token.
    pub(crate) oidc_token_in_url: bool,
}

impl ParsedRequest {
    pub(crate) fn parse(request: HttpRequest) -> Self {
        let query = Parameters::parse(request.query.as_bytes());
        let form = parse_form(&request);
        let authorization = header(&request.headers, "authorization")
            .unwrap_or_default()
            .to_owned();
        let style = if authorization.starts_with(ACS3_ALGORITHM)
            || request.headers.contains_key("x-acs-signature-nonce")
        {
            Style::Acs3
        } else {
            Style::Rpc
        };
        let sent_in = |parameters: &Parameters| {
            PASSWORD_PARAMETERS
                .iter()
                .find_map(|name| parameters.get(name))
                .map(Password::new)
        };
        let in_query = sent_in(&query);
        let password = in_query.clone().or_else(|| sent_in(&form));
        let url = format!("{}?{}", request.path, request.query);
        let url = percent_decode_str(&url).decode_utf8_lossy();
        let password_in_url = in_query.is_some()
            || password
                .as_ref()
                .is_some_and(|password| url.contains(password.expose()));
        let oidc_token_in_url = query.get("OIDCToken").is_some();
        let parameters = if style == Style::Acs3 && !authorization.is_empty() {
            query
        } else {
            query.merged(form)
        };
        Self {
            method: request.method,
            path: request.path,
            headers: request.headers,
            body: request.body,
            style,
            authorization: Authorization::parse(&authorization),
            parameters,
            password_in_url,
            password,
            oidc_token_in_url,
        }
    }

    /// How it says it is signed.
    pub(crate) fn signature(&self) -> SignatureMethod {
        let signed = match self.style {
            Style::Rpc => ["AccessKeyId", "Signature"]
                .iter()
                .any(|name| self.parameter(name).is_some()),
            Style::Acs3 => self.header("authorization").is_some(),
        };
        match self.style {
            _ if !signed => SignatureMethod::Unsigned,
            Style::Rpc => SignatureMethod::RpcHmacSha1,
            Style::Acs3 => SignatureMethod::Acs3HmacSha256,
        }
    }

    /// A parameter of the action, or of the protocol in an RPC request.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)
    }

    /// A parameter of the action that it cannot do without.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.parameter(name).ok_or_else(|| ApiError::missing(name))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }

    pub(crate) fn action(&self) -> Option<&str> {
        self.protocol_value("Action", "x-acs-action")
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.protocol_value("Version", "x-acs-version")
    }

    pub(crate) fn nonce(&self) -> Option<&str> {
        self.protocol_value("SignatureNonce", "x-acs-signature-nonce")
    }

    pub(crate) fn timestamp(&self) -> Option<&str> {
        self.protocol_value("Timestamp", "x-acs-date")
    }

    pub(crate) fn security_token(&self) -> Option<&str> {
        self.protocol_value("SecurityToken", "x-acs-security-token")
    }

    /// The access key that the request says it is signed with.
    pub(crate) fn access_key_id(&self) -> Option<&str> {
        match self.style {
            Style::Rpc => self.parameter("AccessKeyId"),
            Style::Acs3 => self
                .authorization
                .as_ref()
                .map(|authorization| authorization.credential.as_str()),
        }
    }

    /// What each signature method carries in its own place: RPC in a parameter, ACS3 in a header.
    fn protocol_value(&self, parameter: &str, header: &str) -> Option<&str> {
        match self.style {
            Style::Rpc => self.parameter(parameter),
            Style::Acs3 => self.header(header),
        }
    }

    /// How the answer is to be written. XML is the API's default.
    pub(crate) fn format(&self) -> Result<Format, ApiError> {
        let (wanted, code) = match self.style {
            Style::Rpc => (self.parameter("Format"), "InvalidParameter.Format"),
            Style::Acs3 => (self.header("accept"), "InvalidParameter.Accept"),
        };
        let wanted = wanted.unwrap_or_default().to_ascii_lowercase();
        match wanted.as_str() {
            "json" | "application/json" => Ok(Format::Json),
            "" | "xml" | "*/*" | "application/xml" | "text/xml" => Ok(Format::Xml),
            _ => Err(ApiError::new(
                400,
                code,
                "Specified parameter format is not valid.",
            )),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .filter(|value| !value.is_empty())
}

/// A body of another type is not a form and holds no parameters.
fn parse_form(request: &HttpRequest) -> Parameters {
    let content_type = header(&request.headers, "content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        Parameters::parse(&request.body)
    } else {
        Parameters::default()
    }
}
