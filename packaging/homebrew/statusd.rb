# Builds statusd from the sources of a release. `brew services start statusd` runs it as your user, so
# that it can show desktop notifications. scripts/release makes the formula of a release from this
# template; the addresses, version and checksum here are placeholders.
class Statusd < Formula
  desc "Notifier for outages of Apple services"
  homepage "https://statusd.invalid/"
  url "https://statusd.invalid/statusd-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "pandoc" => :build
  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"statusd", "completions")
    system bin/"statusd", "man", "--dir", buildpath/"man"
    man1.install Dir["man/*.1"]
    (buildpath/"statusd.toml.5").write Utils.safe_popen_read("scripts/config-page")
    man5.install "statusd.toml.5"
    doc.install Dir["docs/*.md"]
    pkgshare.install "config/statusd.toml"
  end

  service do
    run [opt_bin/"statusd", "run"]
    # Restarts after a crash or an error, not after a successful exit. launchd cannot exclude exit codes,
    # so an invalid configuration causes a restart every ten seconds.
    keep_alive successful_exit: false
    process_type :background
    log_path var/"log/statusd.log"
    error_log_path var/"log/statusd.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/statusd --version")
    # Needs no network: the program simulates an outage.
    assert_match "DRILL", shell_output("#{bin}/statusd drill --dry")
  end
end
