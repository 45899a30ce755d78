//! Client for lockdownd on the phone. A packet is a 4-byte big-endian length and a property list.
//!
//! Sends only QueryType, GetValue, StartSession and StopSession, so it neither pairs nor changes settings.
//! Values received before an error are kept ([`PartialPhone`]).

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::phones::property_list;

use super::pairing::Pairing;
use super::usbmuxd::{self, Device};
use super::{
    Address, Fault, MAX_PACKET_BYTES, MAX_TEXT_CHARS, PhoneReading, Private, Refusal, Wire, list, values,
};

/// The type of lockdownd. A phone in recovery mode reports another one.
const NORMAL_MODE: &str = "com.apple.mobile.lockdown";
const BACKUP: &str = "com.apple.mobile.backup";
const DISK: &str = "com.apple.disk_usage";
const BATTERY: &str = "com.apple.mobile.battery";
const FIND_MY: &str = "com.apple.fmip";

/// Asks for everything, in order of worth: a phone that falls silent in the middle has told the
/// most important then.
pub(super) async fn ask(address: &Address, device: &Device, sight: &mut PhoneReading) -> Result<(), Refusal> {
    let mut line = Line { wire: usbmuxd::connect(address, device).await? };
    let answer = line.ask("QueryType", []).await?;
    match answer.get("Type").and_then(Value::as_string) {
        None | Some(NORMAL_MODE) => {}
        Some(other) => return Err(Refusal::Other(bounded("it is in another mode", other))),
    }
    let general = &mut sight.general;
    general.class = line.value(None, "DeviceClass").await?.as_ref().and_then(values::text);
    general.model = line.value(None, "ProductType").await?.as_ref().and_then(values::text);
    general.version = line.value(None, "ProductVersion").await?.as_ref().and_then(values::text);
    general.build = line.value(None, "BuildVersion").await?.as_ref().and_then(values::text);
    general.name = line.value(None, "DeviceName").await?.as_ref().and_then(values::text);
    general.clock = line.value(None, "TimeIntervalSince1970").await?.as_ref().and_then(values::clock);

    let record = usbmuxd::pair_record(address, device).await?;
    let pairing = Pairing::read(&record)?;
    let (mut line, session) = start_session(line, &pairing).await?;
    let end = ask_private(&mut line, session.shows_paired_key, &mut sight.private).await;
    if end.is_ok() {
        // Politeness: what is read is read, and nobody waits for an answer.
        let _ = line.send("StopSession", [("SessionID", session.id.into())]).await;
    }
    Ok(end?)
}

async fn ask_private(
    line: &mut Line,
    shows_paired_key: bool,
    private: &mut Option<Private>,
) -> Result<(), Fault> {
    let first = line.value(Some(BACKUP), "CloudBackupEnabled").await?;
    let private = private.insert(Private {
        backup_enabled: first.as_ref().and_then(values::flag),
        shows_paired_key,
        ..Private::default()
    });
    private.last_backup =
        line.value(Some(BACKUP), "LastCloudBackupDate").await?.as_ref().and_then(values::backup_date);
    private.free_bytes =
        line.value(Some(DISK), "AmountDataAvailable").await?.as_ref().and_then(values::bytes);
    private.capacity_bytes =
        line.value(Some(DISK), "TotalDataCapacity").await?.as_ref().and_then(values::capacity);
    private.battery_percent =
        line.value(Some(BATTERY), "BatteryCurrentCapacity").await?.as_ref().and_then(values::percent);
    private.is_charging =
        line.value(Some(BATTERY), "BatteryIsCharging").await?.as_ref().and_then(values::flag);
    private.has_power = line.value(Some(BATTERY), "ExternalConnected").await?.as_ref().and_then(values::flag);
    private.last_local_backup =
        line.value(Some(BACKUP), "LastiTunesBackupDate").await?.as_ref().and_then(values::backup_date);
    private.encrypts_local_backups =
        line.value(Some(BACKUP), "WillEncrypt").await?.as_ref().and_then(values::flag);
    private.is_signed_in = line.value(Some(FIND_MY), "IsAssociated").await?.as_ref().and_then(values::flag);
    Ok(())
}

struct Session {
    id: String,
    shows_paired_key: bool,
}

/// Over TLS from here on where the phone wants it, which all do since many years.
async fn start_session(mut line: Line, pairing: &Pairing) -> Result<(Line, Session), Refusal> {
    let fields =
        [("HostID", pairing.host_id.expose().into()), ("SystemBUID", pairing.system_buid.expose().into())];
    let answer = line.ask("StartSession", fields).await?;
    if let Some(word) = error(&answer) {
        return Err(match word {
            "InvalidHostID" => Refusal::NotTrustedAnyMore,
            "PasswordProtected" => Refusal::Locked,
            "PairingDialogResponsePending" => Refusal::DialogOpen,
            "UserDeniedPairing" => Refusal::Denied,
            other => Refusal::Other(bounded("it starts no session", other)),
        });
    }
    let id = answer.get("SessionID").and_then(values::text);
    let id = id.ok_or(Fault("the phone started a session without a number"))?;
    if answer.get("EnableSessionSSL").and_then(values::flag) != Some(true) {
        return Ok((line, Session { id, shows_paired_key: false }));
    }
    let (wire, shows_paired_key) = pairing.secure(line.wire).await?;
    Ok((Line { wire }, Session { id, shows_paired_key }))
}

fn error(answer: &Dictionary) -> Option<&str> {
    answer.get("Error").map(|word| word.as_string().unwrap_or("an error without a name"))
}

/// Our words, and some of the phone's.
fn bounded(ours: &str, theirs: &str) -> String {
    format!("{ours}: {}", theirs.chars().take(MAX_TEXT_CHARS).collect::<String>())
}

impl From<Fault> for Refusal {
    fn from(Fault(words): Fault) -> Refusal {
        Refusal::Other(words.to_owned())
    }
}

struct Line {
    wire: Box<dyn Wire>,
}

impl Line {
    /// `None`: missing or refused, which is the same to us.
    async fn value(&mut self, domain: Option<&str>, key: &str) -> Result<Option<Value>, Fault> {
        let domain = domain.map(|domain| ("Domain", Value::from(domain)));
        let fields = domain.into_iter().chain([("Key", key.into())]);
        let mut answer = self.ask("GetValue", fields).await?;
        // An answer to another question would put a value into the wrong place.
        if answer.get("Key").is_some_and(|answered| answered.as_string() != Some(key)) {
            return Err(Fault("the phone answered another question"));
        }
        Ok(answer.remove("Value").filter(|_| error(&answer).is_none()))
    }

    async fn ask(
        &mut self,
        request: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Dictionary, Fault> {
        self.send(request, fields).await?;
        let hung_up = |_| Fault("the phone closed the connection");
        let length = self.wire.read_u32().await.map_err(hung_up)? as usize;
        if length > MAX_PACKET_BYTES {
            return Err(Fault("the phone's response has an invalid length"));
        }
        let mut body = vec![0; length];
        self.wire.read_exact(&mut body).await.map_err(hung_up)?;
        list(&body).ok_or(Fault("the phone's response is not a property list"))
    }

    async fn send(
        &mut self,
        request: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<(), Fault> {
        let hung_up = |_| Fault("the phone closed the connection");
        let always = [("Label", "statusd"), ("ProtocolVersion", "2"), ("Request", request)];
        let always = always.map(|(key, text)| (key, Value::from(text)));
        let body = always.into_iter().chain(fields).map(|(key, value)| (key.to_owned(), value)).collect();
        let body = property_list::written(body);
        let length = u32::try_from(body.len()).map_err(|_| Fault("the request is too large"))?;
        let packet = [&length.to_be_bytes()[..], &body].concat();
        self.wire.write_all(&packet).await.map_err(hung_up)?;
        self.wire.flush().await.map_err(hung_up)
    }
}
