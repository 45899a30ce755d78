//! The guide from "my iPhone does not back up" to a backup, step by step.
//!
//! Text only. A step that can lose data has a warning. Contains no telephone number and no host but Apple's
//! (`advice::guide_links_only_to_apple`).

/// A step of the guide. The variants are ordered by effort; the first steps cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuideStep {
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

/// The text of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepText {
    pub title: &'static str,
    /// The reason, in a few sentences.
    pub why: &'static str,
    /// The actions, in order.
    pub todo: &'static [&'static str],
    /// The data that is lost, or the things to prepare. Empty if nothing is at risk.
    pub warning: &'static str,
}

impl GuideStep {
    pub const ALL: [GuideStep; 12] = [
        GuideStep::AppleStatus,
        GuideStep::WifiAndPower,
        GuideStep::Storage,
        GuideStep::BackUpNow,
        GuideStep::Update,
        GuideStep::Restart,
        GuideStep::FreeSpace,
        GuideStep::NetworkReset,
        GuideStep::SignOut,
        GuideStep::LocalBackup,
        GuideStep::Prevention,
        GuideStep::AppleSupport,
    ];

    /// Returns the stable name used on the command line and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            GuideStep::AppleStatus => "apple-status",
            GuideStep::WifiAndPower => "wifi-and-power",
            GuideStep::Storage => "storage",
            GuideStep::BackUpNow => "back-up-now",
            GuideStep::Update => "update",
            GuideStep::Restart => "restart",
            GuideStep::FreeSpace => "free-space",
            GuideStep::NetworkReset => "network-reset",
            GuideStep::SignOut => "sign-out",
            GuideStep::LocalBackup => "local-backup",
            GuideStep::Prevention => "prevention",
            GuideStep::AppleSupport => "apple-support",
        }
    }

    /// Returns the number of the step, from 1.
    pub fn number(self) -> usize {
        GuideStep::ALL.iter().position(|step| *step == self).unwrap_or_default() + 1
    }

    /// Parses the name or the number of a step.
    pub fn parse(text: &str) -> Option<GuideStep> {
        let text = text.trim().to_lowercase();
        GuideStep::ALL.into_iter().find(|step| step.as_str() == text || step.number().to_string() == text)
    }

    pub fn text(self) -> StepText {
        match self {
            GuideStep::AppleStatus => APPLE_STATUS,
            GuideStep::WifiAndPower => WIFI_AND_POWER,
            GuideStep::Storage => STORAGE,
            GuideStep::BackUpNow => BACK_UP_NOW,
            GuideStep::Update => UPDATE,
            GuideStep::Restart => RESTART,
            GuideStep::FreeSpace => FREE_SPACE,
            GuideStep::NetworkReset => NETWORK_RESET,
            GuideStep::SignOut => SIGN_OUT,
            GuideStep::LocalBackup => LOCAL_BACKUP,
            GuideStep::Prevention => PREVENTION,
            GuideStep::AppleSupport => APPLE_SUPPORT,
        }
    }
}

/// Printed after all steps.
pub const WARNING: &str = "Never erase or restore the phone to make a backup work: you would lose all data \
                           that is not backed up.";

const APPLE_STATUS: StepText = StepText {
    title: "Check whether Apple has an outage",
    why: "During an outage no step on the phone helps. The phone catches up by itself afterwards. Apple posts \
          an outage a median of 91 minutes after it began, so an empty status page proves nothing.",
    todo: &[
        "`statusd check` shows the current state of iCloud Backup; `statusd history` shows past outages.",
        "Apple's own page is https://www.apple.com/support/systemstatus/.",
        "If there is an outage, wait. Otherwise continue with step 2, and check again in an hour or two.",
    ],
    warning: "",
};

const WIFI_AND_POWER: StepText = StepText {
    title: "Connect to Wi-Fi and power, and lock the phone",
    why: "The phone backs up automatically once in 24 hours, and only while it is on Wi-Fi, on power and \
          locked at the same time.",
    todo: &[
        "Settings, Wi-Fi: connect to a network that works. To test the network, open a web page in Safari.",
        "Tap the (i) next to the network and turn off Low Data Mode.",
        "If you use a VPN or a content filter, turn it off and try again.",
        "Connect the charger, lock the screen, and leave the phone overnight.",
    ],
    warning: "",
};

const STORAGE: StepText = StepText {
    title: "Free up iCloud storage",
    why: "The whole next backup must fit into your remaining iCloud storage. 5 GB are free of charge, which \
          is little for a phone with many photos.",
    todo: &[
        "Settings, your name, iCloud: the bar at the top shows how much storage is left.",
        "There, under Storage, Backups shows the size of the next backup. Turn off the apps that need no \
         backup.",
        "If there is not enough, delete what you do not need from iCloud, or buy more storage.",
    ],
    warning: "A deleted backup cannot be recovered, not even one of an old phone. Photos that you delete in \
              iCloud Photos are deleted on all your devices. The backup does not include the apps that you \
              turned off.",
};

const BACK_UP_NOW: StepText = StepText {
    title: "Turn on iCloud Backup and back up now",
    why: "iCloud Backup may be off, for example because you changed phones or because the phone backs up to a \
          computer. Apple keeps a phone's backups for 180 days after iCloud Backup is turned off.",
    todo: &[
        "Settings, your name, iCloud, iCloud Backup: turn on Back Up This iPhone.",
        "There, tap Back Up Now, and stay on Wi-Fi until the line below shows the new time of the last \
         successful backup.",
        "If the switch is grey, a profile of your employer or school may forbid backups. Ask them.",
        "The first backup can take a night or more.",
    ],
    warning: "",
};

const UPDATE: StepText = StepText {
    title: "Update iOS",
    why: "Updates fix faults of older versions. iCloud no longer accepts backups from iOS 8 and earlier.",
    todo: &["Settings, General, Software Update: install the update, on Wi-Fi and power."],
    warning: "If you can, back up to a computer first (step 10).",
};

const RESTART: StepText = StepText {
    title: "Restart the phone",
    why: "A stuck backup does not always resume by itself.",
    todo: &[
        "Hold a volume button and the side button until the slider appears. On a phone with a Home button, \
         hold the side or top button.",
        "Drag the slider, wait half a minute, and turn the phone on again.",
        "Unlock the phone once with its passcode. Until then, the phone cannot back up.",
        "Try Back Up Now again (step 4).",
    ],
    warning: "",
};

const FREE_SPACE: StepText = StepText {
    title: "Free up space on the phone",
    why: "The phone prepares a backup locally, which needs free space.",
    todo: &[
        "Settings, General, iPhone Storage: leave a few gigabytes free.",
        "There, Offload App removes an app but keeps its data.",
    ],
    warning: "Delete App also removes the app's data. Deleted photos stay in Recently Deleted for 30 days. They \
              take up space until you remove them there, too.",
};

const NETWORK_RESET: StepText = StepText {
    title: "Reset the network settings",
    why: "If other devices back up on the same Wi-Fi and this phone does not, its network settings may be the \
          cause.",
    todo: &[
        "Settings, General, Transfer or Reset iPhone, Reset, Reset Network Settings.",
        "Connect to Wi-Fi again, and try Back Up Now (step 4).",
    ],
    warning: "The phone forgets all Wi-Fi networks and their passwords, and its VPN and mobile network settings. \
              Have your Wi-Fi password at hand. Do not tap Erase All Content and Settings, which is next to \
              Reset.",
};

const SIGN_OUT: StepText = StepText {
    title: "Sign out of iCloud and back in",
    why: "Try this last. Signing in again renews the link between the phone and your Apple Account.",
    todo: &[
        "Settings, your name, Sign Out at the bottom. Keep a copy of all data that the phone offers to keep.",
        "Restart the phone, sign in again in the same place, and turn on iCloud Backup (step 4).",
    ],
    warning: "First back up to a computer (step 10). Have at hand the password of your Apple Account and \
              another device or telephone that receives verification codes. Without both, you cannot sign in \
              again. Cards in Wallet are removed, and Find My is off until you sign in again.",
};

const LOCAL_BACKUP: StepText = StepText {
    title: "Back up to a computer",
    why: "A backup to a computer works without iCloud. It is the safety net for the steps above.",
    todo: &[
        "Connect the phone with a cable, unlock it, and tap Trust if it asks.",
        "Mac: in Finder, select the phone in the sidebar. Choose \"Back up all of the data on your iPhone \
         to this Mac\", tick \"Encrypt local backup\", and click Back Up Now.",
        "Windows: do the same in the Apple Devices app or in iTunes.",
        "Linux: run `idevicebackup2 -i encryption on DIRECTORY`, then `idevicebackup2 backup --full DIRECTORY` \
         (package libimobiledevice-utils).",
    ],
    warning: "Only an encrypted backup contains health data and saved passwords. Write down its password, because it \
              cannot be recovered. Choosing the Mac in Finder can turn off iCloud Backup: afterwards check \
              Settings, your name, iCloud, iCloud Backup.",
};

const PREVENTION: StepText = StepText {
    title: "Prevent the next failure",
    why: "A phone does not report a failed backup for days.",
    todo: &[
        "Charge the phone overnight, on Wi-Fi.",
        "Keep statusd running: it notifies you of outages at Apple, and, with [phone] in its configuration, \
         when a connected phone has not backed up.",
        "Check the date of the last backup now and then: Settings, your name, iCloud, iCloud Backup.",
        "From time to time, also make an encrypted backup to a computer.",
    ],
    warning: "",
};

const APPLE_SUPPORT: StepText = StepText {
    title: "Contact Apple Support",
    why: "If no step helped, only Apple can examine the rest: your account, its storage, its servers.",
    todo: &[
        "https://support.apple.com/ has the article \"If you can't back up to iCloud\".",
        "https://getsupport.apple.com/ opens a case or a chat.",
        "Have ready: the iOS version, the text of the error, and the output of `statusd doctor -v`.",
    ],
    warning: "Type these addresses yourself. Apple does not call you because of a failed backup, and never asks \
              for your password or a code. A caller who does is not from Apple.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_by_its_name_and_by_its_number() {
        for (index, step) in GuideStep::ALL.into_iter().enumerate() {
            assert_eq!(step.number(), index + 1);
            assert_eq!(GuideStep::parse(step.as_str()), Some(step));
            assert_eq!(GuideStep::parse(&format!(" {} ", index + 1)), Some(step));
        }
        for unknown in ["", "0", "13", "erase", "-1"] {
            assert_eq!(GuideStep::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_step_that_can_lose_data_has_a_warning() {
        for step in [
            GuideStep::Storage,
            GuideStep::FreeSpace,
            GuideStep::NetworkReset,
            GuideStep::SignOut,
            GuideStep::LocalBackup,
        ] {
            assert!(!step.text().warning.is_empty(), "{step:?}");
        }
        assert!(NETWORK_RESET.warning.contains("passwords") && NETWORK_RESET.warning.contains("networks"));
        assert!(SIGN_OUT.warning.contains("back up to a computer (step 10)"));
        assert_eq!((GuideStep::BackUpNow.number(), GuideStep::LocalBackup.number()), (4, 10));
    }
}
