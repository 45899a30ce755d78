fn main() {
    let env = |n: &str| std::env::var(n).ok();
    let o = statusd::config::Overrides {
        feed_url: std::env::args().nth(1),
        state_directory: std::env::args().nth(2).map(Into::into),
        ..Default::default()
    };
    let c = statusd::config::load(&o, &env).unwrap();
    statusd::logs::init(statusd::config::LogLevel::Debug, c.log_format, false, true);
    if let Err(e) = statusd::daemon::run(c, &o, &env) {
        eprintln!("{e}");
        std::process::exit(e.exit_code().into());
    }
}
