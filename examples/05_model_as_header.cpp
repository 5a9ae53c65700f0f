// A small model as one C++ header without dependencies, for targets without a file system.
#include <redoubt/redoubt.hpp>

#include <filesystem>
#include <fstream>

int main() {
  const auto model = redoubt::GradientBoosting{{.trees = 10, .max_leaves = 8}}.fit(redoubt::generate_moons());
  const auto path = (std::filesystem::temp_directory_path() / "redoubt-example-05.hpp").string();
  model.save_as_header(path, "moons");
  std::ifstream header(path);
  std::string line;
  for (int shown = 0; shown < 12 && std::getline(header, line); ++shown) std::cout << line << '\n';
  std::cout << "... " << std::filesystem::file_size(path) << " bytes\n";
  std::filesystem::remove(path);
}
