//! The whole road from "my iPhone does not back up" to a backup, in our own words.
//!
//! Pure text. Every step is safe for what is on the phone, or says what it costs before it says what
//! to tap. Invariant: it names no telephone number and no host but Apple's.

/// A step of the road, in order of effort: the first ones cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    AppleStatus,
    WifiAndPower,
    Storage,
    BackUpNow,
    Update,
    Restart,
    FreeSpace,
    NetworkReset,
    SignOut,
    LocalBackup,
    Prevention,
    AppleSupport,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    pub title: &'static str,
    /// Why, in a sentence or two.
    pub why: &'static str,
    /// What to do, in order.
    pub todo: &'static [&'static str],
    /// What is lost, or what to have at hand before; empty where nothing is at risk.
    pub mind: &'static str,
}

impl Step {
    pub const ALL: [Step; 12] = [
        Step::AppleStatus,
        Step::WifiAndPower,
        Step::Storage,
        Step::BackUpNow,
        Step::Update,
        Step::Restart,
        Step::FreeSpace,
        Step::NetworkReset,
        Step::SignOut,
        Step::LocalBackup,
        Step::Prevention,
        Step::AppleSupport,
    ];

    /// The word for programs and the command line; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::AppleStatus => "apple-status",
            Step::WifiAndPower => "wifi-and-power",
            Step::Storage => "storage",
            Step::BackUpNow => "back-up-now",
            Step::Update => "update",
            Step::Restart => "restart",
            Step::FreeSpace => "free-space",
            Step::NetworkReset => "network-reset",
            Step::SignOut => "sign-out",
            Step::LocalBackup => "local-backup",
            Step::Prevention => "prevention",
            Step::AppleSupport => "apple-support",
        }
    }

    /// Its number on the road, from 1.
    pub fn number(self) -> usize {
        Step::ALL.iter().position(|step| *step == self).unwrap_or_default() + 1
    }

    /// By its word or its number.
    pub fn parse(text: &str) -> Option<Step> {
        let text = text.trim().to_lowercase();
        Step::ALL.into_iter().find(|step| step.as_str() == text || step.number().to_string() == text)
    }

    pub fn text(self) -> Text {
        match self {
            Step::AppleStatus => APPLE_STATUS,
            Step::WifiAndPower => WIFI_AND_POWER,
            Step::Storage => STORAGE,
            Step::BackUpNow => BACK_UP_NOW,
            Step::Update => UPDATE,
            Step::Restart => RESTART,
            Step::FreeSpace => FREE_SPACE,
            Step::NetworkReset => NETWORK_RESET,
            Step::SignOut => SIGN_OUT,
            Step::LocalBackup => LOCAL_BACKUP,
            Step::Prevention => PREVENTION,
            Step::AppleSupport => APPLE_SUPPORT,
        }
    }
}

/// Above the road: what must not be done on it.
pub const WARNING: &str = "Never erase or restore the phone to make a backup work: what is not backed up yet \
                           would be gone.";

const APPLE_STATUS: Text = Text {
    title: "Collected whether Apple has trouble",
    why: "While Apple has trouble nothing on the phone helps, and the phone catches up by itself once it is \
          over. Apple posts trouble a median of 91 minutes after it began, so a page without trouble is no \
          proof.",
    todo: &[
        "`statusd check` says how iCloud Backup is now, `statusd history` how it was.",
        "Apple's own page is https://www.apple.com/support/systemstatus/.",
        "If it has trouble: wait. If not: go on, and look again in an hour or two.",
    ],
    mind: "",
};

const WIFI_AND_POWER: Text = Text {
    title: "Wi-Fi, power, a locked screen",
    why: "The phone backs up by itself once in 24 hours, and only while it is on Wi-Fi, on power and locked, \
          all three at once.",
    todo: &[
        "Settings, Wi-Fi: connect to a network that works, and open a web page in Safari to see that it \
         does.",
        "Tap the (i) beside the network and switch Low Data Mode off.",
        "A VPN or a content filter: switch it off for one try.",
        "Connect the charger, lock the screen, and leave it so overnight.",
    ],
    mind: "",
};

const STORAGE: Text = Text {
    title: "Space in iCloud",
    why: "The whole next backup must fit into what is left of your iCloud storage. 5 GB are free of charge, \
          which is little for a phone with photos.",
    todo: &[
        "Settings, your name, iCloud: the bar at the top shows how much is left.",
        "Backups (there, under Storage) shows the size of the next one. Apps that need no backup can be \
         switched off in it.",
        "Not enough: delete in iCloud what you do not need, or get more storage there.",
    ],
    mind: "A backup that you delete is gone, of an old phone too. What you delete in iCloud Photos is deleted \
           on all your devices. An app that is switched off in the backup will not be in it.",
};

const BACK_UP_NOW: Text = Text {
    title: "iCloud Backup on, and Back Up Now",
    why: "The switch may be off: after a change of phone, or because somebody backs up to a computer. Apple \
          keeps the backups of a phone for 180 days after it is switched off.",
    todo: &[
        "Settings, your name, iCloud, iCloud Backup: switch on Back Up This iPhone.",
        "There, tap Back Up Now, and stay on Wi-Fi until the line below says when the last one succeeded.",
        "The switch cannot be moved: a profile of your employer or school forbids it; ask them.",
        "The first backup can take a night or more.",
    ],
    mind: "",
};

const UPDATE: Text = Text {
    title: "Update iOS",
    why: "Old versions have faults that newer ones have not, and below iOS 9 iCloud takes no backups any \
          more.",
    todo: &["Settings, General, Software Update: install what is there, on Wi-Fi and power."],
    mind: "If you can, make a backup to a computer first (step 10).",
};

const RESTART: Text = Text {
    title: "Restart the phone",
    why: "A backup that is stuck does not always get going by itself.",
    todo: &[
        "Hold a volume button and the side button until the slider shows, slide, wait half a minute, and \
         switch it on again. Phones with a Home button: hold the side or top button.",
        "Unlock it once with its code: before that it cannot back up.",
        "Try Back Up Now again (step 4).",
    ],
    mind: "",
};

const FREE_SPACE: Text = Text {
    title: "Free space on the phone",
    why: "A backup is prepared on the phone itself, and a phone that is full cannot.",
    todo: &[
        "Settings, General, iPhone Storage: leave a few gigabytes free.",
        "Offload App, there, removes an app and keeps what belongs to it.",
    ],
    mind: "Delete App removes what belongs to the app as well. Deleted photos go to Recently Deleted for 30 \
           days and take their space until they are removed there too.",
};

const NETWORK_RESET: Text = Text {
    title: "Reset the network settings",
    why: "Where other devices back up on the same Wi-Fi and this phone does not, its network settings may be \
          at fault.",
    todo: &[
        "Settings, General, Transfer or Reset iPhone, Reset, Reset Network Settings.",
        "Connect to Wi-Fi again, and try Back Up Now (step 4).",
    ],
    mind: "The phone forgets all Wi-Fi networks and their passwords, VPN and mobile network settings: have the \
           password of your Wi-Fi at hand. Take care not to tap Erase All Content and Settings, which \
           stands beside it.",
};

const SIGN_OUT: Text = Text {
    title: "Sign out of iCloud and in again",
    why: "The last thing to try: it renews what ties the phone to your Apple Account.",
    todo: &[
        "Settings, your name, at the bottom Sign Out. Choose to keep a copy of what it offers to keep.",
        "Restart, sign in again in the same place, and switch iCloud Backup on (step 4).",
    ],
    mind: "First make a backup to a computer (step 10). Have the password of your Apple Account at hand, and \
           another device or a telephone that receives its codes: without both you cannot get back in. \
           Cards in Wallet are removed, and Find My is off until you are signed in again.",
};

const LOCAL_BACKUP: Text = Text {
    title: "A backup to a computer",
    why: "It works without iCloud, whatever is wrong there, and is the safety net for the steps above.",
    todo: &[
        "Connect the phone by cable, unlock it, and tap Trust on it if it asks.",
        "Mac: Finder, the phone in the sidebar, \"Back up all of the data on your iPhone to this Mac\", tick \
         \"Encrypt local backup\", Back Up Now.",
        "Windows: the same in the app Apple Devices, or in iTunes.",
        "Linux: `idevicebackup2 -i encryption on DIRECTORY`, then `idevicebackup2 backup --full DIRECTORY` \
         (package libimobiledevice-utils).",
    ],
    mind: "Only an encrypted backup keeps health data and saved passwords. Write its password down: nobody can \
           recover it. A backup to a computer does not switch off the one to iCloud, unless you choose so.",
};

const PREVENTION: Text = Text {
    title: "So that it does not happen again",
    why: "A backup that fails says nothing for days.",
    todo: &[
        "Charge the phone overnight, on Wi-Fi.",
        "Let statusd run: it tells you when Apple has trouble, and, with [phone] in its configuration, when \
         a connected phone has not backed up.",
        "Collected at the date now and then: Settings, your name, iCloud, iCloud Backup.",
        "Now and then make an encrypted backup to a computer as well.",
    ],
    mind: "",
};

const APPLE_SUPPORT: Text = Text {
    title: "Ask Apple",
    why: "What none of these steps helps with only Apple can see: your account, its storage, its servers.",
    todo: &[
        "https://support.apple.com/ has the article \"If you can't back up to iCloud\".",
        "https://getsupport.apple.com/ opens a case or a chat.",
        "Have ready: the iOS version, the words of the error, and what `statusd doctor -v` prints.",
    ],
    mind: "Type these addresses yourself. Apple does not call you because of a failed backup, and never asks \
           for your password or a code. Whoever does is not Apple.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_word_and_by_its_number() {
        for (index, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step.number(), index + 1);
            assert_eq!(Step::parse(step.as_str()), Some(step));
            assert_eq!(Step::parse(&format!(" {} ", index + 1)), Some(step));
        }
        for unknown in ["", "0", "13", "erase", "-1"] {
            assert_eq!(Step::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_costs_something_says_so() {
        for step in [Step::Storage, Step::FreeSpace, Step::NetworkReset, Step::SignOut, Step::LocalBackup] {
            assert!(!step.text().mind.is_empty(), "{step:?}");
        }
        assert!(NETWORK_RESET.mind.contains("passwords") && NETWORK_RESET.mind.contains("networks"));
        assert!(SIGN_OUT.mind.contains("backup to a computer (step 10)"));
        assert_eq!((Step::BackUpNow.number(), Step::LocalBackup.number()), (4, 10));
    }
}
