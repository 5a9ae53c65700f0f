#include "redoubt/data/read.hpp"

#include <algorithm>
#include <string_view>

#include "redoubt/data/arff.hpp"
#include "redoubt/data/libsvm.hpp"
#include "redoubt/data/npy.hpp"

namespace redoubt {
namespace {

std::string ending_of(const std::string& path) {
  const std::size_t dot = path.rfind('.'), slash = path.rfind('/');
  if (dot == std::string::npos || (slash != std::string::npos && slash > dot)) return {};
  std::string ending = path.substr(dot);
  for (char& c : ending) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return ending;
}

Dataset with_roles(Dataset data, const CsvOptions& options) {
  const auto give = [&](const std::string& name, ColumnRole role) {
    if (!name.empty()) data = data.with_role(name, role);
  };
  for (const std::string& name : options.ignore) give(name, ColumnRole::ignore);
  give(options.source, ColumnRole::source);
  give(options.time, ColumnRole::time);
  give(options.weight, ColumnRole::weight);
  const std::size_t target = data.schema().find(ColumnRole::target);
  if (options.target.empty()) return data;
  if (target != Schema::npos && data.schema()[target].name != options.target) {
    data = data.with_role(data.schema()[target].name, ColumnRole::feature);
  }
  give(options.target, ColumnRole::target);
  return data;
}

}  // namespace

Dataset read_file(const std::string& path, const CsvOptions& options) {
  const std::string ending = ending_of(path);
  if (ending == ".arff") {
    return read_arff(path, {.target = options.target,
                            .source = options.source,
                            .time = options.time,
                            .weight = options.weight,
                            .ignore = options.ignore,
                            .bad_rows = options.bad_rows});
  }
  if (ending == ".libsvm" || ending == ".svm") {
    return with_roles(read_libsvm(path, {.task = options.task, .bad_rows = options.bad_rows}), options);
  }
  if (ending == ".npz") {
    const Npz archive = Npz::read(path);
    return with_roles(read_npz_dataset(path, "X", archive.has("y") ? "y" : ""), options);
  }
  if (ending == ".npy") return with_roles(read_npy_dataset(path), options);
  return read_csv(path, options);
}

}  // namespace redoubt
