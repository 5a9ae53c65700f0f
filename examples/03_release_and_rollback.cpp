// A release: recorded, gated, published; then a worse model is refused, forced out, and rolled back.
#include <redoubt/redoubt.hpp>

#include <filesystem>

int main() {
  const auto folder = std::filesystem::temp_directory_path() / "redoubt-example-03";
  std::filesystem::remove_all(folder);
  auto workspace = redoubt::Workspace::open(folder.string(), {.actor = "example"});
  auto registry = workspace.registry();
  const auto [train, rest] = redoubt::generate_moons(2000, 0.2).split(0.3, 7);
  const auto holdout = rest.seal();
  const redoubt::Goal goal{.target = "target", .metric = "accuracy", .threshold = 0.9, .max_regression = 0.01};

  auto release = [&](int trees, bool force) {
    auto run = workspace.begin_run("train with " + std::to_string(trees) + " trees");
    auto stage = run.begin_stage("train");
    stage.input(train, {.name = "train", .origin = "moons"});
    const auto model = stage.output(redoubt::GradientBoosting{{.trees = trees, .max_leaves = 4}}.fit(train), "moons");
    stage.complete();
    run.complete();
    const auto report = redoubt::gate(model, redoubt::Model{}, holdout, goal);
    std::cout << report << '\n';
    return registry.publish("moons", model, report, {.force = force, .reason = force ? "example" : ""});
  };

  const auto good = release(100, false);
  try {
    release(1, false);
    return 1;
  } catch (const redoubt::Error& error) {
    std::cout << "refused: " << error.what() << '\n';
  }
  release(1, true);
  const auto back = registry.rollback("moons", "worse");
  std::cout << "live again: version " << back.version << ", log intact: " << workspace.verify_log().intact << '\n';
  const bool restored = registry.load("moons").hash() == good.model_hash;
  std::filesystem::remove_all(folder);
  return restored ? 0 : 1;
}
