//! The phone client against an emulator of usbmuxd and lockdownd, and the emulator against the tools of
//! libimobiledevice, which must read the same values.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use crate::common::phone::{Fault, Mux, Phone, Stage};
use crate::common::phone_certs::{Papers, Tls};
use plist::Value;
use statusd::phones::{self, Address, Link, Private, ReadTrouble, Refusal};
use tokio::process::Command;

/// Not a measure: far beyond what a loaded machine takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// For phones that never answer: this much is waited for, always.
const SHORT: Duration = Duration::from_secs(4);
const ONE: &str = "00008101-000A1B2C3D4E001E";
const TWO: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";
/// All that statusd may ever say to usbmuxd and to a phone.
const HARMLESS: [&str; 7] =
    ["ListDevices", "ReadPairRecord", "Connect", "QueryType", "GetValue", "StartSession", "StopSession"];
const BACKUP: &str = "com.apple.mobile.backup";

fn trusted() -> Phone {
    Phone::new(ONE, Arc::new(Papers::new()))
}

/// Looks, and sees that nothing was said that could change anything.
async fn look_within(mux: &Mux, within: Duration) -> Result<Vec<phones::Phone>, ReadTrouble> {
    let before = mux.heard().len();
    let seen = phones::look(&Address::parse(&mux.address).expect("an address"), within).await;
    for heard in &mux.heard()[before..] {
        assert!(HARMLESS.contains(&heard.kind.as_str()), "said {heard:?}");
    }
    seen
}

async fn look(mux: &Mux) -> Vec<phones::Phone> {
    look_within(mux, PATIENCE).await.expect("usbmuxd answers")
}

async fn look_at(phone: Phone) -> phones::Phone {
    let mux = Mux::start(vec![phone]).await;
    let mut phones = look(&mux).await;
    assert_eq!(phones.len(), 1, "{phones:?}");
    phones.remove(0)
}

/// What [`Phone::new`] tells.
fn everything(shows_paired_key: bool) -> Private {
    Private {
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
    let general = &phone.general;
    let texts = [&general.name, &general.class, &general.model, &general.version, &general.build];
    let expected = ["Zoë’s iPhone", "iPhone", "iPhone13,2", "18.4.1", "22E252"];
    assert_eq!(texts.map(Option::as_deref), expected.map(Some));
    assert_eq!(general.clock, Some("2026-05-05T00:00:00Z".parse().expect("a time")));
}

#[tokio::test]
async fn a_phone_that_trusts_us_tells_everything() {
    for tls in [Tls::Any, Tls::Only12, Tls::Only13, Tls::None] {
        let phone = look_at(Phone { tls, ..trusted() }).await;
        assert_eq!((phone.udid.expose(), phone.link), (ONE, Link::Usb));
        check_general(&phone);
        assert_eq!(phone.private, Ok(everything(tls != Tls::None)), "{tls:?}");
    }
}

#[tokio::test]
async fn usbmuxd_may_be_a_socket_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let mux = Mux::start_unix(&directory.path().join("usbmuxd"), vec![trusted()]).await;
    assert!(mux.address.starts_with("UNIX:/"));
    assert_eq!(look(&mux).await[0].private, Ok(everything(true)));
}

/// The order is part of the protocol.
#[tokio::test]
async fn what_is_asked_and_what_not() {
    let mux = Mux::start(vec![trusted()]).await;
    look(&mux).await;
    mux.hears("StopSession").await;
    let kinds: Vec<String> = mux.heard().into_iter().map(|heard| heard.kind).collect();
    let mut order = kinds.clone();
    order.dedup();
    let expected =
        ["ListDevices", "Connect", "QueryType", "GetValue", "ReadPairRecord", "StartSession", "GetValue"];
    assert_eq!(order, [&expected[..], &["StopSession"]].concat());
    let keys: BTreeSet<String> = mux.heard().into_iter().filter_map(|heard| heard.key).collect();
    assert_eq!(keys.len(), 16, "{keys:?}");
    for unasked in ["SerialNumber", "InternationalMobileEquipmentIdentity", "PhoneNumber", "UniqueDeviceID"] {
        assert!(!keys.contains(unasked));
    }
}

#[tokio::test]
async fn another_key_than_the_paired_one_is_said_and_is_no_refusal() {
    for tls in [Tls::Only12, Tls::Only13] {
        let papers = Arc::new(Papers::new().changed());
        let phone = look_at(Phone { tls, ..Phone::new(ONE, papers) }).await;
        assert_eq!(phone.private, Ok(everything(false)), "{tls:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_is_no_refusal_either() {
    for tls in [Tls::Only12, Tls::Only13] {
        let papers = Arc::new(Papers::new().illegible());
        let phone = look_at(Phone { tls, ..Phone::new(ONE, papers) }).await;
        assert_eq!(phone.private, Ok(everything(false)), "{tls:?}");
    }
}

/// The certificate of the pairing alone proves no identity.
#[tokio::test]
async fn who_has_the_certificate_and_not_its_key_is_refused() {
    for tls in [Tls::Only12, Tls::Only13] {
        let papers = Arc::new(Papers::new().stolen());
        let phone = look_at(Phone { tls, ..Phone::new(ONE, papers) }).await;
        let words = "the TLS handshake with the phone failed".to_owned();
        assert_eq!(phone.private, Err(Refusal::Other(words)), "{tls:?}");
    }
}

#[tokio::test]
async fn each_refusal_has_its_name() {
    let cases = [
        ("InvalidHostID", Refusal::NotTrustedAnyMore),
        ("PasswordProtected", Refusal::Locked),
        ("PairingDialogResponsePending", Refusal::DialogOpen),
        ("UserDeniedPairing", Refusal::Denied),
        ("SomethingNew", Refusal::Other("it starts no session: SomethingNew".to_owned())),
    ];
    for (error, refusal) in cases {
        let phone = look_at(trusted().refusing(error)).await;
        check_general(&phone);
        assert_eq!(phone.private, Err(refusal));
    }
    let phone = look_at(Phone { papers: None, ..trusted() }).await;
    check_general(&phone);
    assert_eq!(phone.private, Err(Refusal::NotPaired));
}

#[tokio::test]
async fn what_is_missing_or_of_another_type_is_unknown() {
    let mut silent = trusted();
    silent.values.clear();
    let phone = look_at(silent).await;
    assert_eq!(phone.general, phones::General::default());
    assert_eq!(phone.private, Ok(Private { shows_paired_key: true, ..Private::default() }));

    let mut odd = trusted();
    for value in odd.values.values_mut() {
        *value = match value {
            Value::String(_) => 5.into(),
            _ => "true".into(),
        };
    }
    let phone = look_at(odd).await;
    assert_eq!(phone.general, phones::General::default());
    assert_eq!(phone.private, Ok(Private { shows_paired_key: true, ..Private::default() }));

    let date = plist::Date::from_xml_format("2025-05-15T20:37:27Z").expect("a date");
    let phone = trusted().with(BACKUP, "LastCloudBackupDate", date).with(BACKUP, "CloudBackupEnabled", false);
    let expected = Private { backup_enabled: Some(false), ..everything(true) };
    assert_eq!(look_at(phone).await.private, Ok(expected));
}

#[tokio::test]
async fn long_words_are_cut() {
    let phone = trusted().with("", "DeviceName", "x".repeat(900_000));
    let name = look_at(phone).await.general.name.expect("a name");
    assert_eq!(name.chars().count(), 200);
}

#[tokio::test]
async fn several_phones_and_each_once() {
    let both = Phone { links: vec!["Network", "USB"], ..trusted() };
    let papers = Arc::new(Papers::new());
    let far = Phone { links: vec!["Network"], ..Phone::new(TWO, papers).refusing("PasswordProtected") };
    let mux = Mux::start(vec![far, both]).await;
    let phones = look(&mux).await;
    let seen: Vec<_> = phones.iter().map(|phone| (phone.udid.expose(), phone.link)).collect();
    assert_eq!(seen, [(ONE, Link::Usb), (TWO, Link::Network)]);
    assert_eq!(phones[0].private, Ok(everything(true)));
    assert_eq!(phones[1].private, Err(Refusal::Locked));

    let papers = Arc::new(Papers::new());
    let many = (0..40).map(|n| Phone::new(&format!("{n:040}"), Arc::clone(&papers))).collect();
    assert_eq!(look(&Mux::start(many).await).await.len(), 16);
    assert_eq!(look(&Mux::start(Vec::new()).await).await, []);
    let odd = ["", "../../etc/passwd", "a b", &"a".repeat(65)];
    let odd = odd.iter().map(|udid| Phone::new(udid, Arc::clone(&papers))).collect();
    assert_eq!(look(&Mux::start(odd).await).await, []);
}

/// usbmuxd lists a phone once with the hyphen and once without, and the pair record has either spelling.
#[tokio::test]
async fn a_number_with_and_without_its_hyphen_is_one_phone() {
    let bare = ONE.replace('-', "");
    let papers = Arc::new(Papers::new());
    let by_cable = Phone::new(&bare, Arc::clone(&papers));
    let far = Phone { links: vec!["Network"], ..Phone::new(ONE, Arc::clone(&papers)) };
    let phones = look(&Mux::start(vec![far, by_cable]).await).await;
    let seen: Vec<_> = phones.iter().map(|phone| (phone.udid.expose(), phone.link)).collect();
    assert_eq!(seen, [(ONE, Link::Usb)]);
    assert_eq!(phones[0].private, Ok(everything(true)));
    for (listed, record) in [(bare.clone(), ONE.to_owned()), (ONE.to_owned(), bare.to_lowercase())] {
        let phone = Phone { record: Some(record), ..Phone::new(&listed, Arc::clone(&papers)) };
        assert_eq!(look_at(phone).await.private, Ok(everything(true)), "{listed}");
    }
}

/// One phone stops responding at each stage, and one responds always.
#[tokio::test]
async fn silence_costs_what_was_not_told_and_nobody_else() {
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
    let papers = Arc::new(Papers::new());
    let mut phones = vec![Phone::new(ONE, Arc::clone(&papers))];
    for (n, stage) in stages.into_iter().enumerate() {
        phones.push(Phone::new(&format!("{n:040}"), Arc::clone(&papers)).faulty(stage, Fault::Hang));
    }
    let mux = Mux::start(phones).await;
    let seen = look_within(&mux, SHORT).await.expect("usbmuxd answers");
    check_general(&seen[0]);
    assert_eq!(seen[0].private, Ok(everything(true)));
    let silent = Err(Refusal::Silent { after: SHORT });
    for (phone, stage) in seen[1..].iter().zip(stages) {
        match stage {
            Stage::Connect | Stage::QueryType => assert_eq!(phone.general, phones::General::default()),
            Stage::Value("ProductVersion") => {
                assert_eq!(phone.general.model.as_deref(), Some("iPhone13,2"));
                assert_eq!(phone.general.version, None);
            }
            _ => check_general(phone),
        }
        if stage == Stage::Value("AmountDataAvailable") {
            let whole = everything(true);
            let half = Private {
                backup_enabled: whole.backup_enabled,
                last_backup: whole.last_backup,
                shows_paired_key: true,
                ..Private::default()
            };
            assert_eq!(phone.private, Ok(half));
        } else {
            assert_eq!(phone.private, silent, "{stage:?}");
        }
    }
    assert_eq!(seen.len(), stages.len() + 1);
}

#[tokio::test]
async fn a_silent_usbmuxd_and_none() {
    let mux = Mux::start(vec![trusted().faulty(Stage::List, Fault::Hang)]).await;
    let short = Duration::from_millis(200);
    assert_eq!(look_within(&mux, short).await, Err(ReadTrouble::Silent { after: short }));

    let gone = Address::parse(&mux.address).expect("an address");
    drop(mux);
    assert_eq!(phones::look(&gone, PATIENCE).await, Err(ReadTrouble::NoUsbmuxd));
    let directory = tempfile::tempdir().expect("a directory");
    let none = Address::Unix(directory.path().join("usbmuxd"));
    assert_eq!(phones::look(&none, PATIENCE).await, Err(ReadTrouble::NoUsbmuxd));
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
async fn garbage_from_usbmuxd_is_called_that() {
    for fault in GARBAGE {
        let mux = Mux::start(vec![trusted().faulty(Stage::List, fault)]).await;
        let seen = look_within(&mux, PATIENCE).await;
        assert!(matches!(seen, Err(ReadTrouble::Garbled(_))), "{fault:?}: {seen:?}");
    }
}

#[tokio::test]
async fn garbage_about_one_phone_costs_that_phone_only() {
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
    let papers = Arc::new(Papers::new());
    for stage in stages {
        for fault in GARBAGE {
            let bad = Phone::new(TWO, Arc::clone(&papers)).faulty(stage, fault);
            let mux = Mux::start(vec![bad, Phone::new(ONE, Arc::clone(&papers))]).await;
            let seen = look(&mux).await;
            assert_eq!(seen[1].private, Ok(everything(true)), "{stage:?} {fault:?}");
            match &seen[0].private {
                Err(Refusal::Other(words)) => assert!(words.len() < 100, "{words}"),
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
async fn an_answer_to_another_question_is_none() {
    let phone = look_at(trusted().faulty(Stage::Value("CloudBackupEnabled"), Fault::WrongKey)).await;
    check_general(&phone);
    assert_eq!(phone.private, Err(Refusal::Other("the phone answered another question".to_owned())));
}

/// Neither errors nor debug output contain the keys of the pairing.
#[tokio::test]
async fn the_pair_record_stays_secret() {
    let papers = Arc::new(Papers::new());
    let lines =
        |key: &str| key.lines().map(str::to_owned).filter(|line| !line.starts_with('-')).collect::<Vec<_>>();
    let secrets = [lines(&papers.host.key), lines(&papers.root.key), vec![papers.host_id.clone()]].concat();
    for (stage, fault) in [
        (Stage::Record, Fault::Truncated),
        (Stage::Record, Fault::Damaged(3)),
        (Stage::StartSession, Fault::WrongType),
        (Stage::Handshake, Fault::Noise(1)),
        (Stage::Value("DeviceName"), Fault::HangUp),
    ] {
        let seen = format!("{:?}", look_at(Phone::new(ONE, Arc::clone(&papers)).faulty(stage, fault)).await);
        for secret in &secrets {
            assert!(!seen.contains(secret), "{seen}");
        }
        assert!(!seen.contains(ONE), "{seen}");
    }
    // A record with a key that is none.
    let mut papers = Papers::new();
    papers.host.key = "-----BEGIN PRIVATE KEY-----\nU0VDUkVU\n-----END PRIVATE KEY-----\n".to_owned();
    let phone = look_at(Phone::new(ONE, Arc::new(papers))).await;
    let words = "cannot use the key in the pair record".to_owned();
    assert_eq!(phone.private, Err(Refusal::Other(words)));
}

/// Thousands of damaged responses cause neither a panic nor a timeout.
#[tokio::test]
async fn damage_is_survived_at_every_stage() {
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
    let papers = Arc::new(Papers::new());
    let (mut whole, mut broken) = (0, 0);
    for seed in 0..250 {
        // One usbmuxd for all stages except the list, because a damaged list hides the other phones.
        let phones = stages.iter().enumerate().skip(1).map(|(n, stage)| {
            let phone = Phone::new(&format!("{n:040}"), Arc::clone(&papers));
            Phone { tls: Tls::None, ..phone }.faulty(*stage, Fault::Damaged(seed * 100 + n as u64))
        });
        let seen = look(&Mux::start(phones.collect()).await).await;
        assert_eq!(seen.len(), stages.len() - 1);
        for phone in seen {
            match phone.private {
                Ok(_) => whole += 1,
                Err(Refusal::Silent { .. }) => panic!("seed {seed}: it waited"),
                Err(_) => broken += 1,
            }
        }
        let mux = Mux::start(vec![trusted().faulty(Stage::List, Fault::Damaged(seed))]).await;
        match look_within(&mux, PATIENCE).await {
            Ok(_) => whole += 1,
            Err(ReadTrouble::Garbled(_)) => broken += 1,
            Err(trouble) => panic!("seed {seed}: {trouble:?}"),
        }
    }
    assert!(whole > 400 && broken > 400, "{whole} whole, {broken} broken");
}

/// The stock tools at the emulator.
struct Referee<'a> {
    mux: &'a Mux,
}

struct Printed {
    out: String,
    err: String,
    code: Option<i32>,
}

impl Referee<'_> {
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
        let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends");
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

/// What we read, in the words of `ideviceinfo`, by (domain, key).
fn ours(phone: &phones::Phone) -> BTreeMap<(&'static str, &'static str), Option<String>> {
    let general = &phone.general;
    let mut ours = BTreeMap::from([
        (("", "DeviceName"), general.name.clone()),
        (("", "DeviceClass"), general.class.clone()),
        (("", "ProductType"), general.model.clone()),
        (("", "ProductVersion"), general.version.clone()),
        (("", "BuildVersion"), general.build.clone()),
        (("", "TimeIntervalSince1970"), general.clock.map(|time| time.as_second().to_string())),
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

async fn compare(referee: &Referee<'_>, phone: &phones::Phone) -> usize {
    let mut known = 0;
    for ((domain, key), ours) in ours(phone) {
        let theirs = referee.value(phone.udid.expose(), domain, key).await;
        // A real number, of which we keep the whole seconds.
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
async fn the_stock_tools_read_the_same() {
    let one = Phone::new(ONE, Arc::new(Papers::rsa()));
    let mut two = Phone::new(TWO, Arc::new(Papers::rsa()));
    two.values.retain(|(_, key), _| !["LastCloudBackupDate", "WillEncrypt", "BuildVersion"].contains(key));
    let two = two.with(BACKUP, "CloudBackupEnabled", false).with("", "DeviceName", "Büro");
    let mux = Mux::start(vec![one, two]).await;
    let phones = look(&mux).await;
    let referee = Referee { mux: &mux };

    let listed = referee.run("idevice_id", &["-l"]).await;
    let ours: BTreeSet<&str> = phones.iter().map(|phone| phone.udid.expose()).collect();
    assert_eq!(listed.out.lines().collect::<BTreeSet<_>>(), ours);
    assert_eq!(compare(&referee, &phones[0]).await, 16);
    assert_eq!(compare(&referee, &phones[1]).await, 13);
    let sessions = mux.heard().iter().filter(|heard| heard.kind == "StartSession").count();
    // Two of ours, and theirs: they did not get by without one.
    assert_eq!(sessions, 2 + 32);
}

#[tokio::test]
async fn the_stock_tools_are_refused_as_we_are() {
    let papers = Arc::new(Papers::rsa());
    let refused = Phone::new(ONE, Arc::clone(&papers)).refusing("InvalidHostID");
    let mux = Mux::start(vec![refused]).await;
    let seen = look(&mux).await;
    assert_eq!(seen[0].private, Err(Refusal::NotTrustedAnyMore));
    let referee = Referee { mux: &mux };
    let printed = referee.run("ideviceinfo", &["-k", "ProductVersion"]).await;
    assert_ne!(printed.code, Some(0), "{} {}", printed.out, printed.err);
    // Without a session it is told what we are told.
    let simple = referee.run("ideviceinfo", &["-s", "-k", "ProductVersion"]).await;
    assert_eq!(Some(simple.out), seen[0].general.version);
}

/// Without a pair record the tool sends `Pair`, which shows a dialog on the phone. The emulator records
/// that request, so it would record ours.
#[tokio::test]
async fn the_stock_tool_pairs_and_we_do_not() {
    let mux = Mux::start(vec![Phone { papers: None, ..trusted() }]).await;
    assert_eq!(look(&mux).await[0].private, Err(Refusal::NotPaired));
    let pairs = || mux.heard().iter().any(|heard| heard.kind == "Pair");
    assert!(!pairs());
    let printed = Referee { mux: &mux }.run("ideviceinfo", &["-k", "ProductVersion"]).await;
    assert_ne!(printed.code, Some(0), "{} {}", printed.out, printed.err);
    assert!(pairs(), "{:?}", mux.heard());
}
