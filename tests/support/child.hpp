#pragma once
// Runs this test program again, for what a process decides once.
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

namespace redoubt::test {

/// Standard output of a shell command.
inline std::string output_of(const std::string& command) {
  std::string text;
  std::array<char, 4096> buffer;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (!pipe) return text;
  while (const std::size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) text.append(buffer.data(), n);
  ::pclose(pipe);
  return text;
}

/// Runs the hidden test case `tag` of this program with `environment` ("NAME=value ...") and returns what it printed
/// after "answer: ", up to the end of the line; "" if it printed no such line.
inline std::string child_answer(const std::string& environment, const std::string& tag) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::string command = environment;
  command.append(" '").append(program).append("' '").append(tag).append("' 2>&1");
  const std::string output = output_of(command);
  const std::string mark = "answer: ";
  const std::size_t begin = output.find(mark);
  if (begin == std::string::npos) return "";
  return output.substr(begin + mark.size(), output.find('\n', begin) - begin - mark.size());
}

}  // namespace redoubt::test
