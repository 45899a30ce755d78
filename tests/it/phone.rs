//! The phone client against an emulator of usbmuxd and lockdownd, and the emulator against the tools of
//! libimobiledevice, which must read the same values.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::common::phone::{Fault, MockUsbmuxd, Phone, Stage};
use crate::common::phone_certs::{Pairing, Tls};
use plist::Value;
use statusd::phones::{self, AccessError, Address, Link, PrivateInfo, ReadError};
use tokio::process::Command;

/// Generous, for loaded machines.
const TIMEOUT: Duration = Duration::from_secs(60);
/// For phones that never respond: the test takes this long.
const SHORT: Duration = Duration::from_secs(4);
const ONE: &str = "00008101-000A1B2C3D4E001E";
const TWO: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";
/// The only requests that statusd may send to usbmuxd and to a phone.
const READ_ONLY: [&str; 7] =
    ["ListDevices", "ReadPairRecord", "Connect", "QueryType", "GetValue", "StartSession", "StopSession"];
const BACKUP: &str = "com.apple.mobile.backup";

fn trusted() -> Phone {
    Phone::new(ONE, Arc::new(Pairing::new()))
}

/// Reads all phones, and checks that every request was read-only.
async fn read_with_timeout(mux: &MockUsbmuxd, timeout: Duration) -> Result<Vec<phones::Phone>, ReadError> {
    let before = mux.requests().len();
    let result = phones::read(&Address::parse(&mux.address).expect("an address"), timeout).await;
    for request in &mux.requests()[before..] {
        assert!(READ_ONLY.contains(&request.kind.as_str()), "sent {request:?}");
    }
    result
}

async fn read_all(mux: &MockUsbmuxd) -> Vec<phones::Phone> {
    read_with_timeout(mux, TIMEOUT).await.expect("usbmuxd responds")
}

async fn read_one(phone: Phone) -> phones::Phone {
    let mux = MockUsbmuxd::start(vec![phone]).await;
    let mut phones = read_all(&mux).await;
    assert_eq!(phones.len(), 1, "{phones:?}");
    phones.remove(0)
}

/// Returns the values of [`Phone::new`].
fn everything(shows_paired_key: bool) -> PrivateInfo {
    PrivateInfo {
        backup_enabled: Some(true),
        last_backup: Some("2025-05-15T20:37:27Z".parse().expect("a time")),
        last_local_backup: Some("2025-05-03T21:20:00Z".parse().expect("a time")),
        encrypts_local_backups: Some(true),
        capacity_bytes: Some(127_989_493_760),
        free_bytes: Some(31_415_926_535),
        battery_percent: Some(87),
        is_charging: Some(true),
        has_power: Some(true),
        is_signed_in: Some(true),
        shows_paired_key,
    }
}

#[track_caller]
fn check_general(phone: &phones::Phone) {
    let public = &phone.public;
    let texts = [&public.name, &public.class, &public.model, &public.version, &public.build];
    let expected = ["Zoë’s iPhone", "iPhone", "iPhone13,2", "18.4.1", "22E252"];
    assert_eq!(texts.map(Option::as_deref), expected.map(Some));
    assert_eq!(public.clock, Some("2026-05-05T00:00:00Z".parse().expect("a time")));
}

#[tokio::test]
async fn reads_everything_from_a_paired_phone() {
    for tls in [Tls::Any, Tls::Only12, Tls::Only13, Tls::None] {
        let phone = read_one(Phone { tls, ..trusted() }).await;
        assert_eq!((phone.udid.expose(), phone.link), (ONE, Link::Usb));
        check_general(&phone);
        assert_eq!(phone.private, Ok(everything(tls != Tls::None)), "{tls:?}");
    }
}

#[tokio::test]
async fn connects_to_usbmuxd_over_a_unix_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let mux = MockUsbmuxd::start_unix(&directory.path().join("usbmuxd"), vec![trusted()]).await;
    assert!(mux.address.starts_with("UNIX:/"));
    assert_eq!(read_all(&mux).await[0].private, Ok(everything(true)));
}

/// The order is part of the protocol.
#[tokio::test]
async fn requests_only_the_needed_values_in_order() {
    let mux = MockUsbmuxd::start(vec![trusted()]).await;
    read_all(&mux).await;
    mux.wait_for_request("StopSession").await;
    let kinds: Vec<String> = mux.requests().into_iter().map(|request| request.kind).collect();
    let mut order = kinds.clone();
    order.dedup();
    let expected =
        ["ListDevices", "Connect", "QueryType", "GetValue", "ReadPairRecord", "StartSession", "GetValue"];
    assert_eq!(order, [&expected[..], &["StopSession"]].concat());
    let keys: BTreeSet<String> = mux.requests().into_iter().filter_map(|request| request.key).collect();
    assert_eq!(keys.len(), 16, "{keys:?}");
    for private in ["SerialNumber", "InternationalMobileEquipmentIdentity", "PhoneNumber", "UniqueDeviceID"] {
        assert!(!keys.contains(private));
    }
}

#[tokio::test]
async fn a_changed_device_certificate_is_reported_but_accepted() {
    for tls in [Tls::Only12, Tls::Only13] {
        let pairing = Arc::new(Pairing::new().with_changed_cert());
        let phone = read_one(Phone { tls, ..Phone::new(ONE, pairing) }).await;
        assert_eq!(phone.private, Ok(everything(false)), "{tls:?}");
    }
}

#[tokio::test]
async fn an_unparsable_device_certificate_is_reported_but_accepted() {
    for tls in [Tls::Only12, Tls::Only13] {
        let pairing = Arc::new(Pairing::new().with_unparsable_cert());
        let phone = read_one(Phone { tls, ..Phone::new(ONE, pairing) }).await;
        assert_eq!(phone.private, Ok(everything(false)), "{tls:?}");
    }
}

/// The certificate of the pairing alone proves no identity.
#[tokio::test]
async fn rejects_a_phone_without_the_private_key() {
    for tls in [Tls::Only12, Tls::Only13] {
        let pairing = Arc::new(Pairing::new().with_wrong_key());
        let phone = read_one(Phone { tls, ..Phone::new(ONE, pairing) }).await;
        let message = "the TLS handshake with the phone failed".to_owned();
        assert_eq!(phone.private, Err(AccessError::Other(message)), "{tls:?}");
    }
}

#[tokio::test]
async fn each_refusal_maps_to_its_own_error() {
    let cases = [
        ("InvalidHostID", AccessError::NoLongerTrusted),
        ("PasswordProtected", AccessError::Locked),
        ("PairingDialogResponsePending", AccessError::TrustDialogOpen),
        ("UserDeniedPairing", AccessError::TrustDenied),
        ("SomethingNew", AccessError::Other("the phone refused the session: SomethingNew".to_owned())),
    ];
    for (error, refusal) in cases {
        let phone = read_one(trusted().refusing(error)).await;
        check_general(&phone);
        assert_eq!(phone.private, Err(refusal));
    }
    let phone = read_one(Phone { pairing: None, ..trusted() }).await;
    check_general(&phone);
    assert_eq!(phone.private, Err(AccessError::NotPaired));
}

#[tokio::test]
async fn missing_or_mistyped_values_are_unknown() {
    let mut silent = trusted();
    silent.values.clear();
    let phone = read_one(silent).await;
    assert_eq!(phone.public, phones::PublicInfo::default());
    assert_eq!(phone.private, Ok(PrivateInfo { shows_paired_key: true, ..PrivateInfo::default() }));

    let mut odd = trusted();
    for value in odd.values.values_mut() {
        *value = match value {
            Value::String(_) => 5.into(),
            _ => "true".into(),
        };
    }
    let phone = read_one(odd).await;
    assert_eq!(phone.public, phones::PublicInfo::default());
    assert_eq!(phone.private, Ok(PrivateInfo { shows_paired_key: true, ..PrivateInfo::default() }));

    let date = plist::Date::from_xml_format("2025-05-15T20:37:27Z").expect("a date");
    let phone = trusted().with(BACKUP, "LastCloudBackupDate", date).with(BACKUP, "CloudBackupEnabled", false);
    let expected = PrivateInfo { backup_enabled: Some(false), ..everything(true) };
    assert_eq!(read_one(phone).await.private, Ok(expected));
}

#[tokio::test]
async fn truncates_long_values() {
    let phone = trusted().with("", "DeviceName", "x".repeat(900_000));
    let name = read_one(phone).await.public.name.expect("a name");
    assert_eq!(name.chars().count(), 200);
}

#[tokio::test]
async fn reads_each_phone_once() {
    let both = Phone { links: vec!["Network", "USB"], ..trusted() };
    let pairing = Arc::new(Pairing::new());
    let far = Phone { links: vec!["Network"], ..Phone::new(TWO, pairing).refusing("PasswordProtected") };
    let mux = MockUsbmuxd::start(vec![far, both]).await;
    let phones = read_all(&mux).await;
    let links: Vec<_> = phones.iter().map(|phone| (phone.udid.expose(), phone.link)).collect();
    assert_eq!(links, [(ONE, Link::Usb), (TWO, Link::Network)]);
    assert_eq!(phones[0].private, Ok(everything(true)));
    assert_eq!(phones[1].private, Err(AccessError::Locked));

    let pairing = Arc::new(Pairing::new());
    let many = (0..40).map(|n| Phone::new(&format!("{n:040}"), Arc::clone(&pairing))).collect();
    assert_eq!(read_all(&MockUsbmuxd::start(many).await).await.len(), 16);
    assert_eq!(read_all(&MockUsbmuxd::start(Vec::new()).await).await, []);
    let odd = ["", "../../etc/passwd", "a b", &"a".repeat(65)];
    let odd = odd.iter().map(|udid| Phone::new(udid, Arc::clone(&pairing))).collect();
    assert_eq!(read_all(&MockUsbmuxd::start(odd).await).await, []);
}

/// usbmuxd lists a phone once with the hyphen and once without, and the pair record has either spelling.
#[tokio::test]
async fn a_udid_with_and_without_its_hyphen_is_one_phone() {
    let bare = ONE.replace('-', "");
    let pairing = Arc::new(Pairing::new());
    let by_cable = Phone::new(&bare, Arc::clone(&pairing));
    let far = Phone { links: vec!["Network"], ..Phone::new(ONE, Arc::clone(&pairing)) };
    let phones = read_all(&MockUsbmuxd::start(vec![far, by_cable]).await).await;
    let links: Vec<_> = phones.iter().map(|phone| (phone.udid.expose(), phone.link)).collect();
    assert_eq!(links, [(ONE, Link::Usb)]);
    assert_eq!(phones[0].private, Ok(everything(true)));
    for (listed, record) in [(bare.clone(), ONE.to_owned()), (ONE.to_owned(), bare.to_lowercase())] {
        let phone = Phone { record: Some(record), ..Phone::new(&listed, Arc::clone(&pairing)) };
        assert_eq!(read_one(phone).await.private, Ok(everything(true)), "{listed}");
    }
}

/// One phone stops responding at each stage, and one responds always.
#[tokio::test]
async fn a_silent_phone_keeps_values_already_read_and_affects_no_other() {
    let stages = [
        Stage::Connect,
        Stage::QueryType,
        Stage::Value("ProductVersion"),
        Stage::Record,
        Stage::StartSession,
        Stage::Handshake,
        Stage::Value("CloudBackupEnabled"),
        Stage::Value("AmountDataAvailable"),
    ];
    let pairing = Arc::new(Pairing::new());
    let mut phones = vec![Phone::new(ONE, Arc::clone(&pairing))];
    for (n, stage) in stages.into_iter().enumerate() {
        phones.push(Phone::new(&format!("{n:040}"), Arc::clone(&pairing)).faulty(stage, Fault::Hang));
    }
    let mux = MockUsbmuxd::start(phones).await;
    let phones = read_with_timeout(&mux, SHORT).await.expect("usbmuxd responds");
    check_general(&phones[0]);
    assert_eq!(phones[0].private, Ok(everything(true)));
    let silent = Err(AccessError::TimedOut { after: SHORT });
    for (phone, stage) in phones[1..].iter().zip(stages) {
        match stage {
            Stage::Connect | Stage::QueryType => assert_eq!(phone.public, phones::PublicInfo::default()),
            Stage::Value("ProductVersion") => {
                assert_eq!(phone.public.model.as_deref(), Some("iPhone13,2"));
                assert_eq!(phone.public.version, None);
            }
            _ => check_general(phone),
        }
        if stage == Stage::Value("AmountDataAvailable") {
            let whole = everything(true);
            let half = PrivateInfo {
                backup_enabled: whole.backup_enabled,
                last_backup: whole.last_backup,
                shows_paired_key: true,
                ..PrivateInfo::default()
            };
            assert_eq!(phone.private, Ok(half));
        } else {
            assert_eq!(phone.private, silent, "{stage:?}");
        }
    }
    assert_eq!(phones.len(), stages.len() + 1);
}

#[tokio::test]
async fn distinguishes_a_silent_usbmuxd_from_a_missing_one() {
    let mux = MockUsbmuxd::start(vec![trusted().faulty(Stage::List, Fault::Hang)]).await;
    let short = Duration::from_millis(200);
    assert_eq!(read_with_timeout(&mux, short).await, Err(ReadError::TimedOut { after: short }));

    let gone = Address::parse(&mux.address).expect("an address");
    drop(mux);
    assert_eq!(phones::read(&gone, TIMEOUT).await, Err(ReadError::NoUsbmuxd));
    let directory = tempfile::tempdir().expect("a directory");
    let none = Address::Unix(directory.path().join("usbmuxd"));
    assert_eq!(phones::read(&none, TIMEOUT).await, Err(ReadError::NoUsbmuxd));
}

const GARBAGE: [Fault; 7] = [
    Fault::HangUp,
    Fault::Noise(7),
    Fault::Oversized,
    Fault::TooLong,
    Fault::Truncated,
    Fault::WrongType,
    Fault::Deep,
];

#[tokio::test]
async fn reports_malformed_responses_of_usbmuxd() {
    for fault in GARBAGE {
        let mux = MockUsbmuxd::start(vec![trusted().faulty(Stage::List, fault)]).await;
        let result = read_with_timeout(&mux, TIMEOUT).await;
        assert!(matches!(result, Err(ReadError::Malformed(_))), "{fault:?}: {result:?}");
    }
}

#[tokio::test]
async fn malformed_responses_of_one_phone_affect_no_other() {
    let stages = [
        Stage::Connect,
        Stage::QueryType,
        Stage::Value("DeviceName"),
        Stage::Record,
        Stage::StartSession,
        Stage::Handshake,
        Stage::Value("CloudBackupEnabled"),
        Stage::Value("LastCloudBackupDate"),
    ];
    let pairing = Arc::new(Pairing::new());
    for stage in stages {
        for fault in GARBAGE {
            let bad = Phone::new(TWO, Arc::clone(&pairing)).faulty(stage, fault);
            let mux = MockUsbmuxd::start(vec![bad, Phone::new(ONE, Arc::clone(&pairing))]).await;
            let phones = read_all(&mux).await;
            assert_eq!(phones[1].private, Ok(everything(true)), "{stage:?} {fault:?}");
            match &phones[0].private {
                Err(AccessError::Other(message)) => assert!(message.len() < 100, "{message}"),
                Ok(private) => {
                    assert_eq!(stage, Stage::Value("LastCloudBackupDate"), "{fault:?}");
                    assert_eq!((private.backup_enabled, private.last_backup), (Some(true), None));
                }
                Err(refusal) => panic!("{stage:?} {fault:?}: {refusal:?}"),
            }
        }
    }
}

/// A response must not be taken as the value of another key.
#[tokio::test]
async fn rejects_a_response_to_another_request() {
    let phone = read_one(trusted().faulty(Stage::Value("CloudBackupEnabled"), Fault::WrongKey)).await;
    check_general(&phone);
    assert_eq!(phone.private, Err(AccessError::Other("the phone responded to another request".to_owned())));
}

/// Neither errors nor debug output contain the keys of the pairing.
#[tokio::test]
async fn the_pair_record_stays_secret() {
    let pairing = Arc::new(Pairing::new());
    let lines =
        |key: &str| key.lines().map(str::to_owned).filter(|line| !line.starts_with('-')).collect::<Vec<_>>();
    let secrets =
        [lines(&pairing.host.key), lines(&pairing.root.key), vec![pairing.host_id.clone()]].concat();
    for (stage, fault) in [
        (Stage::Record, Fault::Truncated),
        (Stage::Record, Fault::Damaged(3)),
        (Stage::StartSession, Fault::WrongType),
        (Stage::Handshake, Fault::Noise(1)),
        (Stage::Value("DeviceName"), Fault::HangUp),
    ] {
        let debug =
            format!("{:?}", read_one(Phone::new(ONE, Arc::clone(&pairing)).faulty(stage, fault)).await);
        for secret in &secrets {
            assert!(!debug.contains(secret), "{debug}");
        }
        assert!(!debug.contains(ONE), "{debug}");
    }
    // A record with an invalid key.
    let mut pairing = Pairing::new();
    pairing.host.key = "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n".to_owned();
    let phone = read_one(Phone::new(ONE, Arc::new(pairing))).await;
    let message = "cannot use the key in the pair record".to_owned();
    assert_eq!(phone.private, Err(AccessError::Other(message)));
}

/// Thousands of damaged responses cause neither a panic nor a timeout.
#[tokio::test]
async fn survives_damaged_responses_at_every_stage() {
    let stages = [
        Stage::List,
        Stage::Connect,
        Stage::QueryType,
        Stage::Value("TimeIntervalSince1970"),
        Stage::Record,
        Stage::StartSession,
        Stage::Value("LastCloudBackupDate"),
        Stage::Value("IsAssociated"),
    ];
    let pairing = Arc::new(Pairing::new());
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..250 {
        // One usbmuxd for all stages except the list, because a damaged list hides the other phones.
        let phones = stages.iter().enumerate().skip(1).map(|(n, stage)| {
            let phone = Phone::new(&format!("{n:040}"), Arc::clone(&pairing));
            Phone { tls: Tls::None, ..phone }.faulty(*stage, Fault::Damaged(seed * 100 + n as u64))
        });
        let phones = read_all(&MockUsbmuxd::start(phones.collect()).await).await;
        assert_eq!(phones.len(), stages.len() - 1);
        for phone in phones {
            match phone.private {
                Ok(_) => whole += 1,
                Err(AccessError::TimedOut { .. }) => panic!("seed {seed}: timed out"),
                Err(_) => broken += 1,
            }
        }
        let mux = MockUsbmuxd::start(vec![trusted().faulty(Stage::List, Fault::Damaged(seed))]).await;
        match read_with_timeout(&mux, TIMEOUT).await {
            Ok(_) => whole += 1,
            Err(ReadError::Malformed(_)) => broken += 1,
            Err(trouble) => panic!("seed {seed}: {trouble:?}"),
        }
    }
    assert!(whole > 400 && broken > 400, "{whole} whole, {broken} broken");
}

/// Runs the tools of libimobiledevice against the emulator.
struct ReferenceTools<'a> {
    mux: &'a MockUsbmuxd,
}

struct Printed {
    out: String,
    err: String,
    code: Option<i32>,
}

impl ReferenceTools<'_> {
    async fn run(&self, program: &str, arguments: &[&str]) -> Printed {
        // The tools keep their configuration in the home directory.
        let home = tempfile::tempdir().expect("a directory");
        let run = Command::new(program)
            .args(arguments)
            .env("USBMUXD_SOCKET_ADDRESS", &self.mux.address)
            .env("HOME", home.path())
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(TIMEOUT, run).await.expect("the tool ends");
        let output = output.expect("Debian's package libimobiledevice-utils is installed");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8").trim_end().to_owned();
        Printed { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }

    /// Returns the printed value, or `None` without output.
    async fn value(&self, udid: &str, domain: &str, key: &str) -> Option<String> {
        let mut arguments = vec!["-u", udid, "-k", key];
        if !domain.is_empty() {
            arguments.extend(["-q", domain]);
        }
        let printed = self.run("ideviceinfo", &arguments).await;
        // ideviceinfo warns about domains that it does not know, but queries them.
        let is_fine = printed.err.is_empty() || printed.err.starts_with("WARNING: Sending query");
        assert!(printed.code == Some(0) && is_fine, "{key}: {} {}", printed.out, printed.err);
        (!printed.out.is_empty()).then_some(printed.out)
    }
}

/// Returns our values in the format of `ideviceinfo`, by domain and key.
fn our_values(phone: &phones::Phone) -> BTreeMap<(&'static str, &'static str), Option<String>> {
    let public = &phone.public;
    let mut ours = BTreeMap::from([
        (("", "DeviceName"), public.name.clone()),
        (("", "DeviceClass"), public.class.clone()),
        (("", "ProductType"), public.model.clone()),
        (("", "ProductVersion"), public.version.clone()),
        (("", "BuildVersion"), public.build.clone()),
        (("", "TimeIntervalSince1970"), public.clock.map(|time| time.as_second().to_string())),
    ]);
    if let Ok(private) = &phone.private {
        let flag = |flag: Option<bool>| flag.map(|flag| flag.to_string());
        let apple =
            |time: Option<jiff::Timestamp>| time.map(|time| (time.as_second() - 978_307_200).to_string());
        let battery = "com.apple.mobile.battery";
        ours.extend([
            ((BACKUP, "CloudBackupEnabled"), flag(private.backup_enabled)),
            ((BACKUP, "LastCloudBackupDate"), apple(private.last_backup)),
            ((BACKUP, "LastiTunesBackupDate"), apple(private.last_local_backup)),
            ((BACKUP, "WillEncrypt"), flag(private.encrypts_local_backups)),
            (("com.apple.disk_usage", "TotalDataCapacity"), private.capacity_bytes.map(|n| n.to_string())),
            (("com.apple.disk_usage", "AmountDataAvailable"), private.free_bytes.map(|n| n.to_string())),
            ((battery, "BatteryCurrentCapacity"), private.battery_percent.map(|n| n.to_string())),
            ((battery, "BatteryIsCharging"), flag(private.is_charging)),
            ((battery, "ExternalConnected"), flag(private.has_power)),
            (("com.apple.fmip", "IsAssociated"), flag(private.is_signed_in)),
        ]);
    }
    ours
}

async fn compare(tools: &ReferenceTools<'_>, phone: &phones::Phone) -> usize {
    let mut known = 0;
    for ((domain, key), ours) in our_values(phone) {
        let theirs = tools.value(phone.udid.expose(), domain, key).await;
        // A fraction of which we keep whole seconds.
        let theirs = match key {
            "TimeIntervalSince1970" => theirs.and_then(|text| text.split('.').next().map(str::to_owned)),
            _ => theirs,
        };
        assert_eq!(ours, theirs, "{domain} {key}");
        known += usize::from(ours.is_some());
    }
    known
}

#[tokio::test]
async fn libimobiledevice_reads_the_same_values() {
    let one = Phone::new(ONE, Arc::new(Pairing::rsa()));
    let mut two = Phone::new(TWO, Arc::new(Pairing::rsa()));
    two.values.retain(|(_, key), _| !["LastCloudBackupDate", "WillEncrypt", "BuildVersion"].contains(key));
    let two = two.with(BACKUP, "CloudBackupEnabled", false).with("", "DeviceName", "Büro");
    let mux = MockUsbmuxd::start(vec![one, two]).await;
    let phones = read_all(&mux).await;
    let tools = ReferenceTools { mux: &mux };

    let listed = tools.run("idevice_id", &["-l"]).await;
    let ours: BTreeSet<&str> = phones.iter().map(|phone| phone.udid.expose()).collect();
    assert_eq!(listed.out.lines().collect::<BTreeSet<_>>(), ours);
    assert_eq!(compare(&tools, &phones[0]).await, 16);
    assert_eq!(compare(&tools, &phones[1]).await, 13);
    let sessions = mux.requests().iter().filter(|request| request.kind == "StartSession").count();
    // Two of ours, and one for each value that the tools read.
    assert_eq!(sessions, 2 + 32);
}

#[tokio::test]
async fn libimobiledevice_is_refused_as_well() {
    let pairing = Arc::new(Pairing::rsa());
    let refused = Phone::new(ONE, Arc::clone(&pairing)).refusing("InvalidHostID");
    let mux = MockUsbmuxd::start(vec![refused]).await;
    let phones = read_all(&mux).await;
    assert_eq!(phones[0].private, Err(AccessError::NoLongerTrusted));
    let tools = ReferenceTools { mux: &mux };
    let printed = tools.run("ideviceinfo", &["-k", "ProductVersion"]).await;
    assert_ne!(printed.code, Some(0), "{} {}", printed.out, printed.err);
    // Without a session the tool reads the same value.
    let simple = tools.run("ideviceinfo", &["-s", "-k", "ProductVersion"]).await;
    assert_eq!(Some(simple.out), phones[0].public.version);
}

/// Without a pair record the tool sends `Pair`, which shows a dialog on the phone. The emulator records
/// that request, so it would record ours.
#[tokio::test]
async fn never_pairs_unlike_libimobiledevice() {
    let mux = MockUsbmuxd::start(vec![Phone { pairing: None, ..trusted() }]).await;
    assert_eq!(read_all(&mux).await[0].private, Err(AccessError::NotPaired));
    let pairs = || mux.requests().iter().any(|request| request.kind == "Pair");
    assert!(!pairs());
    let printed = ReferenceTools { mux: &mux }.run("ideviceinfo", &["-k", "ProductVersion"]).await;
    assert_ne!(printed.code, Some(0), "{} {}", printed.out, printed.err);
    assert!(pairs(), "{:?}", mux.requests());
}
