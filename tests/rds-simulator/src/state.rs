//! All that the simulator knows, and the pure part of handling a request: everything but HTTP, time and chance.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{
    answer::{Answer, ApiError},
    fault::Faults,
    journal::Journal,
    ram::AccessKeys,
    rds::{self, Action, Instances, instance::Instance},
    request::{ParsedRequest, SignatureMethod},
    signature,
    throttle::{self, Throttle},
};

/// How far a request's timestamp may be off.
const TIMESTAMP_TOLERANCE: SignedDuration = SignedDuration::from_mins(15);

/// All that the simulator knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) access_keys: AccessKeys,
    pub(crate) instances: Instances,
    pub(crate) faults: Faults,
    pub(crate) journal: Journal,
    pub(crate) throttles: Vec<Throttle>,
    /// How far the cloud's clock is ahead of this machine's.
    pub(crate) clock_skew: SignedDuration,
    /// Nonces by access key, and when the cloud's clock showed what as they were used.
    nonces: BTreeMap<(String, String), Timestamp>,
}

/// A request that may be carried out.
pub(crate) struct Admitted {
    pub(crate) call: rds::Call,
    /// The caller's.
    pub(crate) cloud_account: String,
}

impl Admitted {
    pub(crate) fn account(&self) -> Option<&str> {
        match &self.call.operation {
            rds::Operation::ResetAccountPassword(parameters) => Some(&parameters.account),
            rds::Operation::DescribeDBInstanceAttribute => None,
            rds::Operation::DescribeAccounts(parameters) => parameters.account.as_deref(),
        }
    }
}

/// Whether a request may be carried out: form, access key, signature, nonce, rate, parameters and permission, in that order.
pub(crate) fn admit(
    state: &mut State,
    now: Timestamp,
    request: &ParsedRequest,
) -> Result<Admitted, ApiError> {
    let cloud_time = now.checked_add(state.clock_skew).unwrap_or(now);
    if !matches!(request.method.as_str(), "GET" | "POST") {
        return Err(ApiError::new(
            400,
            "UnsupportedHTTPMethod",
            "This http method is not supported.",
        ));
    }
    if let Some(problem) = request.parameters.problem() {
        return Err(ApiError::new(
            400,
            "InvalidParameter",
            format!("The parameters are not valid: {problem}."),
        ));
    }
    request.format()?;
    let action = find_action(request)?;
    check_timestamp(
        protocol_value(request, request.timestamp(), "Timestamp", "x-acs-date")?,
        cloud_time,
    )?;
    let nonce = protocol_value(
        request,
        request.nonce(),
        "SignatureNonce",
        "x-acs-signature-nonce",
    )?
    .to_owned();
    let key_id = protocol_value(
        request,
        request.access_key_id(),
        "AccessKeyId",
        "Authorization",
    )?
    .to_owned();
    let key = state
        .access_keys
        .find(&key_id, request.security_token(), cloud_time)?;
    match request.signature {
        SignatureMethod::RpcHmacSha1 => signature::rpc::verify(request, &key.secret)?,
        SignatureMethod::Acs3HmacSha256 => signature::acs3::verify(request, &key.secret)?,
    }
    // Only a right signature uses a nonce up: otherwise anyone could use up another's.
    use_nonce(&mut state.nonces, key_id, nonce, cloud_time)?;
    throttle::take_token(&mut state.throttles, action, &key.cloud_account, now)?;
    let call = rds::Call::parse(action, request)?;
    let region = state
        .instances
        .get(&call.instance)
        .map_or("*", |instance| instance.region.as_str());
    key.authorize(action, &call.instance, region)?;
    Ok(Admitted {
        call,
        cloud_account: key.cloud_account.clone(),
    })
}

/// Carries an admitted request out.
pub(crate) fn perform(
    state: &mut State,
    now: Timestamp,
    admitted: &Admitted,
    call: u64,
    request_id: &str,
) -> Result<Answer, ApiError> {
    let fields = admitted
        .call
        .perform(&mut state.instances, &admitted.cloud_account, now)?;
    state.journal.note(call, |call| call.took_effect = true);
    Ok(Answer::success(
        admitted.call.action().name(),
        request_id,
        fields,
    ))
}

impl State {
    /// Adds an instance, or replaces the one with its id.
    pub(crate) fn add_instance(&mut self, mut instance: Instance, now: Timestamp) {
        instance.begin(now);
        self.instances.insert(instance.id.clone(), instance);
    }
}

fn find_action(request: &ParsedRequest) -> Result<Action, ApiError> {
    let version = protocol_value(request, request.version(), "Version", "x-acs-version")?;
    let action = protocol_value(request, request.action(), "Action", "x-acs-action")?;
    // The version tells the service: RDS is 2014-08-15, STS 2015-04-01.
    if version != rds::VERSION {
        return Err(ApiError::new(
            400,
            "InvalidVersion",
            "Specified parameter Version is not valid.",
        ));
    }
    let not_found = || {
        ApiError::new(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        )
    };
    if request.path != "/" {
        return Err(not_found());
    }
    Action::named(action).ok_or_else(not_found)
}

fn protocol_value<'a>(
    request: &ParsedRequest,
    value: Option<&'a str>,
    parameter: &str,
    header: &str,
) -> Result<&'a str, ApiError> {
    value.ok_or_else(|| {
        ApiError::missing(match request.signature {
            SignatureMethod::RpcHmacSha1 => parameter,
            SignatureMethod::Acs3HmacSha256 => header,
        })
    })
}

fn check_timestamp(text: &str, cloud_time: Timestamp) -> Result<(), ApiError> {
    let malformed = || {
        ApiError::new(
            400,
            "InvalidTimeStamp.Format",
            "Specified time stamp or date value is not well formatted.",
        )
    };
    // Exactly yyyy-MM-ddTHH:mm:ssZ: the parser alone would take offsets and fractions as well.
    let shape_is_right = text.len() == "yyyy-MM-ddTHH:mm:ssZ".len()
        && text.as_bytes()[10] == b'T'
        && text.ends_with('Z');
    let sent: Timestamp = text
        .parse()
        .ok()
        .filter(|_| shape_is_right)
        .ok_or_else(malformed)?;
    if cloud_time.duration_since(sent).abs() > TIMESTAMP_TOLERANCE {
        return Err(ApiError::new(
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ));
    }
    Ok(())
}

fn use_nonce(
    nonces: &mut BTreeMap<(String, String), Timestamp>,
    key_id: String,
    nonce: String,
    cloud_time: Timestamp,
) -> Result<(), ApiError> {
    // Twice the tolerance: a request's timestamp may lie that far apart at its first and last use.
    nonces.retain(|_, used| cloud_time.duration_since(*used) <= TIMESTAMP_TOLERANCE * 2);
    if nonces.insert((key_id, nonce), cloud_time).is_some() {
        return Err(ApiError::new(
            400,
            "SignatureNonceUsed",
            "Specified signature nonce was used already.",
        ));
    }
    Ok(())
}
