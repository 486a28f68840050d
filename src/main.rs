fn main() -> std::process::ExitCode {
    exeunt::cli::main()
}
