fn main() -> std::process::ExitCode {
    statusd::cli::main()
}
