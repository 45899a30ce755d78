//! Client for lockdownd on the phone. A packet is a 4-byte big-endian length and a property list.
//!
//! Sends only QueryType, GetValue, StartSession and StopSession, so it neither pairs nor changes settings.
//! Values received before an error are kept ([`PartialPhone`]).

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::phones::property_list;
use crate::tls::Stream;

use super::pairing::Pairing;
use super::usbmuxd::{self, Device};
use super::{
    AccessError, Address, MAX_PACKET_BYTES, MAX_TEXT_CHARS, PartialPhone, PrivateInfo, ProtocolError,
    dictionary, values,
};

/// The type of lockdownd. A phone in recovery mode reports another one.
const NORMAL_MODE: &str = "com.apple.mobile.lockdown";
const BACKUP: &str = "com.apple.mobile.backup";
const DISK: &str = "com.apple.disk_usage";
const BATTERY: &str = "com.apple.mobile.battery";
const FIND_MY: &str = "com.apple.fmip";

/// Reads all values into `phone`, the most important ones first, because a phone may stop responding.
pub(super) async fn query(
    address: &Address,
    device: &Device,
    phone: &mut PartialPhone,
) -> Result<(), AccessError> {
    let mut client = Client { stream: usbmuxd::connect(address, device).await? };
    let response = client.request("QueryType", []).await?;
    match response.get("Type").and_then(Value::as_string) {
        None | Some(NORMAL_MODE) => {}
        Some(other) => return Err(AccessError::Other(message("the phone is in another mode", other))),
    }
    let public = &mut phone.public;
    public.class = client.value(None, "DeviceClass").await?.as_ref().and_then(values::text);
    public.model = client.value(None, "ProductType").await?.as_ref().and_then(values::text);
    public.version = client.value(None, "ProductVersion").await?.as_ref().and_then(values::text);
    public.build = client.value(None, "BuildVersion").await?.as_ref().and_then(values::text);
    public.name = client.value(None, "DeviceName").await?.as_ref().and_then(values::text);
    public.clock = client.value(None, "TimeIntervalSince1970").await?.as_ref().and_then(values::clock);

    let record = usbmuxd::pair_record(address, device).await?;
    let pairing = Pairing::read(&record)?;
    let (mut client, session) = start_session(client, &pairing).await?;
    let result = query_private(&mut client, session.shows_paired_key, &mut phone.private).await;
    if result.is_ok() {
        // A courtesy to the phone; an error does not matter, because all values are read.
        let _ = client.send("StopSession", [("SessionID", session.id.into())]).await;
    }
    Ok(result?)
}

async fn query_private(
    client: &mut Client,
    shows_paired_key: bool,
    private: &mut Option<PrivateInfo>,
) -> Result<(), ProtocolError> {
    let first = client.value(Some(BACKUP), "CloudBackupEnabled").await?;
    let private = private.insert(PrivateInfo {
        backup_enabled: first.as_ref().and_then(values::flag),
        shows_paired_key,
        ..PrivateInfo::default()
    });
    private.last_backup =
        client.value(Some(BACKUP), "LastCloudBackupDate").await?.as_ref().and_then(values::backup_date);
    private.free_bytes =
        client.value(Some(DISK), "AmountDataAvailable").await?.as_ref().and_then(values::bytes);
    private.capacity_bytes =
        client.value(Some(DISK), "TotalDataCapacity").await?.as_ref().and_then(values::capacity);
    private.battery_percent =
        client.value(Some(BATTERY), "BatteryCurrentCapacity").await?.as_ref().and_then(values::percent);
    private.is_charging =
        client.value(Some(BATTERY), "BatteryIsCharging").await?.as_ref().and_then(values::flag);
    private.has_power =
        client.value(Some(BATTERY), "ExternalConnected").await?.as_ref().and_then(values::flag);
    private.last_local_backup =
        client.value(Some(BACKUP), "LastiTunesBackupDate").await?.as_ref().and_then(values::backup_date);
    private.encrypts_local_backups =
        client.value(Some(BACKUP), "WillEncrypt").await?.as_ref().and_then(values::flag);
    private.is_signed_in = client.value(Some(FIND_MY), "IsAssociated").await?.as_ref().and_then(values::flag);
    Ok(())
}

struct Session {
    id: String,
    shows_paired_key: bool,
}

/// Starts a session, with TLS if the phone requests it. All current phones do.
async fn start_session(mut client: Client, pairing: &Pairing) -> Result<(Client, Session), AccessError> {
    let fields =
        [("HostID", pairing.host_id.expose().into()), ("SystemBUID", pairing.system_buid.expose().into())];
    let response = client.request("StartSession", fields).await?;
    if let Some(name) = error(&response) {
        return Err(match name {
            "InvalidHostID" => AccessError::NoLongerTrusted,
            "PasswordProtected" => AccessError::Locked,
            "PairingDialogResponsePending" => AccessError::TrustDialogOpen,
            "UserDeniedPairing" => AccessError::TrustDenied,
            other => AccessError::Other(message("the phone refused the session", other)),
        });
    }
    let id = response.get("SessionID").and_then(values::text);
    let id = id.ok_or(ProtocolError("the phone sent no session ID"))?;
    if response.get("EnableSessionSSL").and_then(values::flag) != Some(true) {
        return Ok((client, Session { id, shows_paired_key: false }));
    }
    let (stream, shows_paired_key) = pairing.secure(client.stream).await?;
    Ok((Client { stream }, Session { id, shows_paired_key }))
}

fn error(response: &Dictionary) -> Option<&str> {
    response.get("Error").map(|name| name.as_string().unwrap_or("an error without a name"))
}

/// Returns a message with text of the phone's, cut to a limit.
fn message(ours: &str, theirs: &str) -> String {
    format!("{ours}: {}", theirs.chars().take(MAX_TEXT_CHARS).collect::<String>())
}

impl From<ProtocolError> for AccessError {
    fn from(ProtocolError(message): ProtocolError) -> AccessError {
        AccessError::Other(message.to_owned())
    }
}

struct Client {
    stream: Box<dyn Stream>,
}

impl Client {
    /// Returns a value, or `None` if it is missing or refused.
    async fn value(&mut self, domain: Option<&str>, key: &str) -> Result<Option<Value>, ProtocolError> {
        let domain = domain.map(|domain| ("Domain", Value::from(domain)));
        let fields = domain.into_iter().chain([("Key", key.into())]);
        let mut response = self.request("GetValue", fields).await?;
        // The response to another request would be taken for the value of this key.
        if response.get("Key").is_some_and(|answered| answered.as_string() != Some(key)) {
            return Err(ProtocolError("the phone responded to another request"));
        }
        Ok(response.remove("Value").filter(|_| error(&response).is_none()))
    }

    async fn request(
        &mut self,
        request: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Dictionary, ProtocolError> {
        self.send(request, fields).await?;
        let closed = |_| ProtocolError("the phone closed the connection");
        let length = self.stream.read_u32().await.map_err(closed)? as usize;
        if length > MAX_PACKET_BYTES {
            return Err(ProtocolError("the phone's response has an invalid length"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(closed)?;
        dictionary(&body).ok_or(ProtocolError("the phone's response is not a property list"))
    }

    async fn send(
        &mut self,
        request: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<(), ProtocolError> {
        let closed = |_| ProtocolError("the phone closed the connection");
        let common = [("Label", "statusd"), ("ProtocolVersion", "2"), ("Request", request)];
        let common = common.map(|(key, text)| (key, Value::from(text)));
        let body = common.into_iter().chain(fields).map(|(key, value)| (key.to_owned(), value)).collect();
        let body = property_list::written(body);
        let length = u32::try_from(body.len()).map_err(|_| ProtocolError("the request is too large"))?;
        let packet = [&length.to_be_bytes()[..], &body].concat();
        self.stream.write_all(&packet).await.map_err(closed)?;
        self.stream.flush().await.map_err(closed)
    }
}
