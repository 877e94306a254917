use dev::function::ALLOCATOR;

#[test]
fn functions_run_with_the_allocator_settings_of_the_template() {
    let template = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml")).unwrap();
    let set: Vec<_> = template.lines().map(str::trim).filter(|line| line.starts_with("MALLOC_")).collect();
    assert_eq!(set, ALLOCATOR.map(|(name, value)| format!("{name}: \"{value}\"")));
}
