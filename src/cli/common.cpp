#include "cli/common.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/read.hpp"
#include "redoubt/trees/importance.hpp"

namespace redoubt::cli {

void add_data_arguments(CLI::App& app, DataArguments& arguments, bool needs_target) {
  app.add_option("FILE", arguments.file, "CSV, TSV, .arff, .npz, .npy or .libsvm file")->required();
  auto* target = app.add_option("--target,-t", arguments.target, "column to predict");
  if (needs_target) target->required();
  app.add_option("--source", arguments.source, "column that says who supplied a row (an account, a partner)");
  app.add_option("--time", arguments.time, "column that says when a row arose");
  app.add_option("--weight", arguments.weight, "column of sample weights");
  app.add_option("--ignore", arguments.ignore, "columns that are never features");
  app.add_option("--type", arguments.types, "NAME=numeric|categorical|text|timestamp: a type that is not inferred");
  app.add_option("--delimiter", arguments.delimiter, "field delimiter; default: the best of , tab ; |");
  app.add_option("--target-suffix", arguments.target_suffix, "cut from target cells that end in it");
  app.add_flag("--no-quotes", arguments.no_quotes, "quotes are ordinary characters");
  app.add_flag("--no-header", arguments.no_header, "the first row is data; columns are c1, c2, ...");
  app.add_flag("--strict", arguments.strict, "stop at the first bad row instead of setting it aside");
}

namespace {

ColumnType column_type(const std::string& name) {
  for (ColumnType type : {ColumnType::numeric, ColumnType::categorical, ColumnType::text, ColumnType::timestamp})
    if (name == to_string(type)) return type;
  detail::fail(errc::invalid_argument,
               fmt::format("unknown column type '{}': numeric, categorical, text or timestamp", name));
}

}  // namespace

CsvOptions csv_options(const DataArguments& arguments) {
  CsvOptions options;
  options.target = arguments.target;
  options.source = arguments.source;
  options.time = arguments.time;
  options.weight = arguments.weight;
  options.ignore = arguments.ignore;
  options.target_suffix = arguments.target_suffix;
  options.quoting = !arguments.no_quotes;
  if (arguments.no_header) options.header = Header::absent;
  if (arguments.strict) options.bad_rows = BadRows::error;
  if (!arguments.delimiter.empty()) {
    const std::string name = arguments.delimiter == "\\t" || arguments.delimiter == "tab" ? "\t" : arguments.delimiter;
    if (name.size() != 1) detail::fail(errc::invalid_argument, "--delimiter takes one character, or tab");
    options.delimiter = name[0];
  }
  for (const std::string& assignment : arguments.types) {
    const std::size_t equal = assignment.rfind('=');
    if (equal == std::string::npos)
      detail::fail(errc::invalid_argument, fmt::format("--type takes NAME=TYPE, got '{}'", assignment));
    options.types.emplace_back(assignment.substr(0, equal), column_type(assignment.substr(equal + 1)));
  }
  return options;
}

Dataset read(const DataArguments& arguments) { return read_file(arguments.file, csv_options(arguments)); }

void TerminalProgress::update(std::string_view stage, std::size_t done, std::size_t total) {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (!terminal) return;
  std::cerr << fmt::format("\r{}: {} of {}   ", stage, done, total) << (done == total ? "\n" : "") << std::flush;
}

void print(const nlohmann::json& json) { std::cout << json.dump(2) << '\n'; }

void print_quarantine(const Dataset& data, std::size_t most) {
  print_quarantine(data.quarantine(), data.quarantine().size(), most);
}

void print_quarantine(const std::vector<QuarantinedRow>& rows, std::uint64_t count, std::size_t most) {
  if (count == 0) return;
  std::cerr << count << " bad rows set aside:\n";
  for (std::size_t i = 0; i < std::min(most, rows.size()); ++i)
    std::cerr << fmt::format("  {}:{}: field {}: {}\n", rows[i].file, rows[i].line, rows[i].column, rows[i].reason);
  if (count > std::min(most, rows.size())) std::cerr << "  ...\n";
}

nlohmann::json describe(const Schema& schema) {
  auto columns = nlohmann::json::array();
  for (const ColumnSpec& spec : schema.columns()) {
    nlohmann::json column = {{"name", spec.name}, {"type", to_string(spec.type)}, {"role", to_string(spec.role)}};
    if (spec.type == ColumnType::categorical) column["categories"] = spec.categories.size();
    columns.push_back(column);
  }
  return columns;
}

nlohmann::json describe(std::vector<ColumnImportance> columns) {
  std::stable_sort(columns.begin(), columns.end(), [](const auto& a, const auto& b) { return a.value > b.value; });
  auto list = nlohmann::json::array();
  for (const ColumnImportance& c : columns) {
    nlohmann::json entry = {{"column", c.column}, {"value", c.value}};
    if (c.deviation > 0) entry["deviation"] = c.deviation;
    list.push_back(entry);
  }
  return list;
}

void print_importance(const nlohmann::json& columns, std::size_t most) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < std::min(most, columns.size()); ++i)
    width = std::max(width, columns[i]["column"].get<std::string>().size());
  for (std::size_t i = 0; i < std::min(most, columns.size()); ++i) {
    std::cout << fmt::format("  {:{}}  {:.6g}", columns[i]["column"].get<std::string>(), width,
                             columns[i]["value"].get<double>());
    if (columns[i].contains("deviation")) std::cout << fmt::format(" +- {:.2g}", columns[i]["deviation"].get<double>());
    std::cout << '\n';
  }
  if (columns.size() > most) std::cout << fmt::format("  ... and {} more\n", columns.size() - most);
}

void add_importance(CLI::App& app, std::string& kind) {
  app.add_option("--importance", kind, "of the columns, for trees: gain, split or cover")
      ->check(CLI::IsMember({"gain", "split", "cover"}));
}

nlohmann::json importance_of(const Model& model, const std::string& kind) {
  return describe(importance(model, kind == "gain"    ? Importance::gain
                                    : kind == "split" ? Importance::split
                                                      : Importance::cover));
}

}  // namespace redoubt::cli
