#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "data/atomic_file.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/model/predictor.hpp"

namespace redoubt {
namespace {

/// A C string literal of exactly these bytes.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\' && c != '?')  // no trigraphs
      out += c;
    else
      out += fmt::format("\\{:03o}", byte);
  }
  return out + '"';
}

/// Text that may stand behind "//": printable ASCII on one line.
std::string comment(std::string_view text) {
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return c < 0x20 || c > 0x7e || c == '\\'; }, ' ');
  return out;
}

bool is_identifier(std::string_view name) {
  const auto word = [](char c) { return c == '_' || std::isalnum(static_cast<unsigned char>(c)); };
  return !name.empty() && std::all_of(name.begin(), name.end(), word) &&
         std::isalpha(static_cast<unsigned char>(name[0])) && name.find("__") == name.npos;
}

template <class Names>
std::string name_table(const Names& names) {
  std::string table;
  for (const std::string& name : names) table += fmt::format("{}{}", table.empty() ? "" : ", ", quoted(name));
  return table;
}

}  // namespace

void Model::save_as_header(const std::string& path, std::string_view name) const {
  if (!is_identifier(name))
    detail::fail(errc::invalid_argument, fmt::format("\"{:.60}\" cannot name a C++ namespace", name));
  if (encoder().has_text())
    detail::fail(errc::unsupported, "a model with text columns cannot be written as a C++ header; serve its file");
  const std::string form = predictor().to_source("form");
  if (form.empty())
    detail::fail(errc::unsupported, fmt::format("this {} cannot be written as a C++ header", predictor().form()));

  std::vector<std::string> columns;
  std::string categories;  // cases of a switch over the columns
  for (std::size_t i = 0; i < schema().size(); ++i) {
    const ColumnSpec& column = schema()[i];
    columns.push_back(column.name);
    if (column.type != ColumnType::categorical || column.categories.empty()) continue;
    categories += fmt::format(
        "    case {}: {{\n      static const char* const names[] = {{{}}};\n"
        "      for (int k = 0; k < {}; ++k)\n        if (detail::same(names[k], category)) return (float)k;\n"
        "      break;\n    }}\n",
        i, name_table(column.categories), column.categories.size());
  }
  const std::vector<std::string> value{"value"};
  const std::string text = fmt::format(
      "// {algorithm} ({options})\n"
      "// Written by Redoubt {version}. Data {data}. Model {hash}.\n"
      "#pragma once\n#include <cmath>\n#include <cstddef>\n#include <cstdint>\n\n"
      "namespace {name} {{\n\n"
      "constexpr int inputs = {inputs};    // floats in a raw row\n"
      "constexpr int outputs = {outputs};  // {meaning}\n"
      "static const char* const input_names[inputs] = {{{input_names}}};\n"
      "static const char* const output_names[outputs] = {{{output_names}}};\n\n"
      "namespace detail {{\n\n"
      "inline bool same(const char* a, const char* b) {{\n"
      "  while (*a && *a == *b) ++a, ++b;\n  return *a == *b;\n}}\n\n"
      "{encode}\n{form}\n"
      "}}  // namespace detail\n\n"
      "// What a raw row holds for a category of a categorical column; NaN (missing) if it is unknown.\n"
      "inline float category_code(int input, const char* category) {{\n"
      "  (void)category;\n  switch (input) {{\n{categories}    default: break;\n  }}\n  return NAN;\n}}\n\n"
      "// raw_row: one float per input (numbers; category codes; timestamps as seconds since 1970; NaN = missing).\n"
      "inline void predict(const float* raw_row, float* out) {{\n"
      "  float row[{width}];\n  detail::encode(raw_row, row);\n  detail::form(row, out);\n}}\n\n"
      "}}  // namespace {name}\n",
      fmt::arg("algorithm", comment(info().algorithm)), fmt::arg("options", comment(info().options)),
      fmt::arg("version", comment(info().library_version)), fmt::arg("data", comment(info().data_hash)),
      fmt::arg("hash", hash()), fmt::arg("name", name), fmt::arg("inputs", inputs()), fmt::arg("outputs", outputs()),
      fmt::arg("meaning", task() == Task::classification ? "probabilities" : "the predicted value"),
      fmt::arg("input_names", name_table(columns)),
      fmt::arg("output_names", name_table(classes().empty() ? value : classes())),
      fmt::arg("encode", encoder().to_source("encode")), fmt::arg("form", form), fmt::arg("categories", categories),
      fmt::arg("width", std::max<std::size_t>(encoder().width(), 1)));
  detail::write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace redoubt
