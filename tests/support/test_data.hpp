#pragma once
// Where tests find the real data sets and put temporary files.
#include <unistd.h>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace redoubt::test {

/// Path of a real data file below REDOUBT_TEST_DATA; "" if it is absent.
inline std::string data_path(const std::string& relative) {
  const char* root = std::getenv("REDOUBT_TEST_DATA");
  const auto path = std::filesystem::path(root ? root : REDOUBT_TEST_DATA_DEFAULT) / relative;
  return std::filesystem::exists(path) ? path.string() : "";
}

/// A fresh directory that is removed at the end of the scope.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "redoubt-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace redoubt::test

/// Defines `variable` as the path, or ends the test with a loud SKIPPED when the data set is absent.
#define REDOUBT_NEED_DATA(variable, relative)                        \
  const std::string variable = ::redoubt::test::data_path(relative); \
  if (variable.empty()) {                                            \
    WARN("SKIPPED: " relative " is not below REDOUBT_TEST_DATA");    \
    return;                                                          \
  }
