#include "serve/infer.hpp"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>

#include "redoubt/core/error.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/robustness/monitor/input_guard.hpp"
#include "redoubt/serve/observer.hpp"

namespace redoubt::detail {
namespace {

namespace dom = simdjson::dom;

constexpr std::string_view raw_input = "rows";
constexpr int max_nesting = 4;  // of the arrays in "data"
constexpr std::string_view datatypes[] = {"BOOL",   "INT8",   "INT16", "INT32", "INT64", "UINT8", "UINT16",
                                          "UINT32", "UINT64", "FP16",  "FP32",  "FP64",  "BYTES"};

[[noreturn]] void bad(errc code, std::string_view input, const std::string& what) {
  fail(code, fmt::format("input \"{}\": {}", input, what));
}

std::string_view text_at(const dom::object& object, const char* key, std::string_view owner) {
  std::string_view text;
  if (object[key].get(text) != simdjson::SUCCESS)
    fail(errc::parse_error, fmt::format("{}: \"{}\" must be a text", owner, key));
  return text;
}

/// Calls visit(element) for the leaves of nested arrays, in row-major order.
template <class F>
void for_each_leaf(const dom::element& data, std::string_view input, int depth, F& visit) {
  dom::array array;
  if (data.get(array) != simdjson::SUCCESS) {
    visit(data);
    return;
  }
  if (depth == max_nesting) bad(errc::parse_error, input, "\"data\" is nested too deeply");
  for (const auto element : array) for_each_leaf(element, input, depth + 1, visit);
}

struct TensorInput {
  std::string_view name, datatype;
  std::vector<std::size_t> shape;
  dom::element data;
  std::size_t size = 1;
};

TensorInput read_tensor(const dom::element& element, std::size_t max_values) {
  dom::object object;
  if (element.get(object) != simdjson::SUCCESS) fail(errc::parse_error, "every input must be an object");
  TensorInput input;
  input.name = text_at(object, "name", "input");
  input.datatype = text_at(object, "datatype", fmt::format("input \"{}\"", input.name));
  if (std::find(std::begin(datatypes), std::end(datatypes), input.datatype) == std::end(datatypes))
    bad(errc::type_mismatch, input.name,
        fmt::format("datatype \"{}\" is not one of {}", input.datatype, fmt::join(datatypes, ", ")));
  dom::array shape;
  if (object["shape"].get(shape) != simdjson::SUCCESS)
    bad(errc::parse_error, input.name, "\"shape\" must be a list of numbers");
  for (const auto extent : shape) {
    std::uint64_t n = 0;
    if (extent.get(n) != simdjson::SUCCESS)
      bad(errc::parse_error, input.name, "\"shape\" must hold non-negative whole numbers");
    if (input.shape.size() == 2) bad(errc::shape_mismatch, input.name, "\"shape\" has more than 2 dimensions");
    if (n != 0 && input.size > max_values / n)
      bad(errc::invalid_argument, input.name, fmt::format("\"shape\" means more than {} values", max_values));
    input.size *= static_cast<std::size_t>(n);
    input.shape.push_back(static_cast<std::size_t>(n));
  }
  if (input.shape.empty()) bad(errc::shape_mismatch, input.name, "\"shape\" is empty");
  dom::object parameters;
  if (object["parameters"].get(parameters) == simdjson::SUCCESS) {
    dom::element ignored;
    if (parameters["binary_data_size"].get(ignored) == simdjson::SUCCESS)
      fail(errc::unsupported, "binary tensor data is not supported; send \"data\" as JSON");
  }
  if (object["data"].get(input.data) != simdjson::SUCCESS || !input.data.is<dom::array>())
    bad(errc::parse_error, input.name, "\"data\" must be a list");
  return input;
}

/// A JSON number or truth value as the datatype holds it; null is NaN (missing).
double read_number(const dom::element& element, const TensorInput& input) {
  if (element.is_null()) return std::numeric_limits<double>::quiet_NaN();
  const bool boolean = input.datatype == "BOOL";
  bool truth = false;
  if (element.get(truth) == simdjson::SUCCESS) {
    if (!boolean)
      bad(errc::type_mismatch, input.name, fmt::format("\"data\" holds a truth value, datatype is {}", input.datatype));
    return truth ? 1 : 0;
  }
  double value = 0;
  if (element.get(value) != simdjson::SUCCESS)  // converts whole numbers, too
    bad(errc::type_mismatch, input.name,
        fmt::format("\"data\" holds something that is not a number, datatype is {}", input.datatype));
  if (boolean && value != 0 && value != 1)
    bad(errc::type_mismatch, input.name, fmt::format("{} is not a truth value", value));
  const bool whole = input.datatype[0] == 'I' || input.datatype[0] == 'U';
  if (whole && value != std::floor(value))
    bad(errc::type_mismatch, input.name, fmt::format("{} is not a whole number", value));
  if (input.datatype[0] == 'U' && value < 0) bad(errc::type_mismatch, input.name, fmt::format("{} is negative", value));
  if (input.datatype == "FP32") {
    if (std::abs(value) > std::numeric_limits<float>::max())
      bad(errc::invalid_argument, input.name, fmt::format("{} does not fit FP32", value));
    return static_cast<float>(value);
  }
  return value;
}

/// A category or text: BYTES, or a whole number or truth value spelled out.
std::string read_text(const dom::element& element, const TensorInput& input) {
  std::string_view text;
  if (element.get(text) == simdjson::SUCCESS) {
    if (input.datatype != "BYTES")
      bad(errc::type_mismatch, input.name, fmt::format("\"data\" holds a text, datatype is {}", input.datatype));
    return std::string(text);
  }
  std::int64_t integer = 0;
  if (input.datatype != "BYTES" && element.get(integer) == simdjson::SUCCESS) return fmt::format("{}", integer);
  bool truth = false;
  if (input.datatype == "BOOL" && element.get(truth) == simdjson::SUCCESS) return truth ? "true" : "false";
  bad(errc::type_mismatch, input.name, "\"data\" must hold texts");
}

void read_column(const TensorInput& input, Column& column) {
  std::size_t seen = 0;
  const auto& spec = column.spec;
  const bool bytes = input.datatype == "BYTES";
  if (bytes && (spec.type == ColumnType::numeric || spec.type == ColumnType::timestamp))
    bad(errc::type_mismatch, input.name, fmt::format("the column is {}, the datatype BYTES", to_string(spec.type)));
  if (!bytes && (spec.type == ColumnType::text || input.datatype[0] == 'F') && spec.type != ColumnType::numeric)
    bad(errc::type_mismatch, input.name,
        fmt::format("the column is {}, the datatype {}", to_string(spec.type), input.datatype));
  auto take = [&](const dom::element& element) {
    if (seen++ >= input.size) return;  // the count is judged at the end
    switch (spec.type) {
      case ColumnType::numeric: column.numbers.push_back(read_number(element, input)); break;
      case ColumnType::timestamp: {
        std::int64_t time = missing_time;
        if (!element.is_null() && element.get(time) != simdjson::SUCCESS)
          bad(errc::type_mismatch, input.name, "a timestamp must be a whole number of microseconds");
        column.times.push_back(time);
        break;
      }
      case ColumnType::categorical: {
        std::int32_t code = -1;
        if (!element.is_null()) {
          const auto text = read_text(element, input);
          const auto found = std::find(spec.categories.begin(), spec.categories.end(), text);
          if (found != spec.categories.end()) code = static_cast<std::int32_t>(found - spec.categories.begin());
        }
        column.codes.push_back(code);
        break;
      }
      case ColumnType::text:
        column.texts.push_back(element.is_null() ? std::string() : read_text(element, input));
        break;
    }
  };
  for_each_leaf(input.data, input.name, 0, take);
  if (seen != input.size)
    bad(errc::shape_mismatch, input.name,
        fmt::format("\"shape\" means {} values, \"data\" holds {}", input.size, seen));
}

void read_rows(const TensorInput& input, const Schema& schema, InferRequest& request) {
  if (input.shape.size() != 2 || input.shape[1] != schema.size())
    bad(errc::shape_mismatch, input.name,
        fmt::format("raw rows have shape [rows, {}], not [{}]", schema.size(), fmt::join(input.shape, ", ")));
  if (input.datatype[0] != 'F')
    bad(errc::type_mismatch, input.name, fmt::format("raw rows are FP32, not {}", input.datatype));
  for (const auto& column : schema.columns())
    if (column.type == ColumnType::text)
      bad(errc::unsupported, input.name,
          fmt::format("column \"{}\" is text, so rows have no raw form; send one input per column", column.name));
  request.raw = true;
  request.rows = Tensor<float>{input.shape[0], input.shape[1]};
  std::size_t seen = 0;
  auto take = [&](const dom::element& element) {
    if (seen++ < input.size) request.rows.flat()[seen - 1] = static_cast<float>(read_number(element, input));
  };
  for_each_leaf(input.data, input.name, 0, take);
  if (seen != input.size)
    bad(errc::shape_mismatch, input.name,
        fmt::format("\"shape\" means {} values, \"data\" holds {}", input.size, seen));
}

}  // namespace

std::string json_text(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const char* datatype_of(const ColumnSpec& column) noexcept {
  switch (column.type) {
    case ColumnType::numeric: return "FP64";
    case ColumnType::categorical:
    case ColumnType::text: return "BYTES";
    case ColumnType::timestamp: return "INT64";
  }
  return "BYTES";
}

InferRequest parse_infer(std::string_view body, const Schema& schema, std::size_t max_rows) {
  // One parser per thread keeps its buffers; its capacity is bounded by the largest body that was let in.
  thread_local dom::parser parser;
  dom::element document;
  if (const auto error = parser.parse(body.data(), body.size()).get(document); error != simdjson::SUCCESS)
    fail(errc::parse_error, fmt::format("the body is not valid JSON: {}", simdjson::error_message(error)));
  dom::object object;
  if (document.get(object) != simdjson::SUCCESS) fail(errc::parse_error, "the body must be a JSON object");

  InferRequest request;
  dom::element id;
  if (object["id"].get(id) == simdjson::SUCCESS) {
    std::string_view text;
    if (id.get(text) != simdjson::SUCCESS) fail(errc::parse_error, "\"id\" must be a text");
    request.id = text;
    request.has_id = true;
  }
  dom::element outputs;
  if (object["outputs"].get(outputs) == simdjson::SUCCESS) {
    dom::array array;
    if (outputs.get(array) != simdjson::SUCCESS) fail(errc::parse_error, "\"outputs\" must be a list");
    for (const auto output : array) {
      dom::object wanted;
      if (output.get(wanted) != simdjson::SUCCESS) fail(errc::parse_error, "every output must be an object");
      if (request.outputs.size() == 16) fail(errc::invalid_argument, "more than 16 outputs are wanted");
      request.outputs.emplace_back(text_at(wanted, "name", "output"));
    }
  }
  dom::array inputs;
  if (object["inputs"].get(inputs) != simdjson::SUCCESS) fail(errc::parse_error, "\"inputs\" must be a list");
  // A value takes at least two bytes of the body, so a shape alone cannot make us allocate.
  const std::size_t max_values = std::min(max_rows * std::max<std::size_t>(1, schema.size()), body.size() / 2);
  std::vector<TensorInput> tensors;
  for (const auto element : inputs) {
    if (tensors.size() > schema.size())
      fail(errc::invalid_argument, fmt::format("more inputs than the {} columns of the model", schema.size()));
    tensors.push_back(read_tensor(element, max_values));
    if (tensors.back().shape[0] > max_rows)
      bad(errc::invalid_argument, tensors.back().name,
          fmt::format("{} rows, at most {} are taken", tensors.back().shape[0], max_rows));
  }
  if (tensors.empty()) fail(errc::invalid_argument, "\"inputs\" is empty");
  if (tensors[0].shape[0] == 0) bad(errc::shape_mismatch, tensors[0].name, "no rows");
  if (tensors.size() == 1 && tensors[0].name == raw_input && schema.find(raw_input) == Schema::npos) {
    read_rows(tensors[0], schema, request);
    return request;
  }

  std::vector<Column> columns(schema.size());
  std::vector<char> given(schema.size());
  for (const auto& tensor : tensors) {
    const auto index = schema.find(tensor.name);
    if (index == Schema::npos) bad(errc::invalid_argument, tensor.name, "the model has no such column");
    if (given[index]) bad(errc::invalid_argument, tensor.name, "is given twice");
    given[index] = 1;
    if (tensor.shape.size() == 2 && tensor.shape[1] != 1)
      bad(errc::shape_mismatch, tensor.name,
          fmt::format("a column has shape [rows] or [rows, 1], not [{}]", fmt::join(tensor.shape, ", ")));
    if (tensor.shape[0] != tensors[0].shape[0])
      bad(errc::shape_mismatch, tensor.name,
          fmt::format("{} rows, but input \"{}\" has {}", tensor.shape[0], tensors[0].name, tensors[0].shape[0]));
    columns[index].spec = schema[index];
    read_column(tensor, columns[index]);
  }
  std::string missing;
  for (std::size_t i = 0; i < given.size(); ++i)
    if (!given[i]) missing += fmt::format("{}\"{}\"", missing.empty() ? "" : ", ", schema[i].name);
  if (!missing.empty()) fail(errc::invalid_argument, fmt::format("inputs are missing: {}", missing));
  request.columns = Dataset(std::move(columns));
  return request;
}

void guard_rows(InferRequest& request, const Model& model, InputGuard& guard) {
  const std::size_t n = request.count(), d = model.inputs();
  const bool text = model.encoder().has_text();
  Tensor<float> safe = request.raw ? std::move(request.rows) : Tensor<float>({n, d});
  for (std::size_t i = 0; i < n; ++i) {
    if (!request.raw) model.encoder().raw_row(request.columns.row(i), safe.row(i));
    const GuardVerdict verdict = guard.check(safe.row(i), safe.row(i));
    if (verdict.status == errc::ok) continue;
    const bool column = verdict.reason != GuardReason::out_of_distribution && verdict.column < model.schema().size();
    fail(verdict.status, fmt::format("row {} is refused: {}{}", i, to_string(verdict.reason),
                                     column ? fmt::format(" of \"{}\"", model.schema()[verdict.column].name) : ""));
  }
  if (text) return;
  request.rows = std::move(safe);
  request.raw = true;
}

std::string answer_infer(const InferRequest& request, const Model& model, std::string_view name,
                         std::string_view version, std::string_view model_hash, std::string_view caller,
                         Observer* observer) {
  const bool classify = model.task() == Task::classification;
  const auto wanted = [&](std::string_view output) {
    return request.outputs.empty() ||
           std::find(request.outputs.begin(), request.outputs.end(), output) != request.outputs.end();
  };
  for (const auto& output : request.outputs)
    if (classify ? output != "probabilities" && output != "label" : output != "value")
      fail(errc::invalid_argument, fmt::format("the model has no output \"{}\"; it has {}", output,
                                               classify ? "\"probabilities\" and \"label\"" : "\"value\""));

  const std::size_t n = request.count(), k = model.outputs();
  Tensor<float> out;
  if (request.raw) {
    out = Tensor<float>{n, k};
    for (std::size_t i = 0; i < n; ++i)
      if (const auto code = model.predict(request.rows.row(i), out.row(i)); code != errc::ok)
        fail(code, fmt::format("row {} cannot be predicted: {}", i, to_string(code)));
  } else {
    out = model.predict_proba(request.columns);
  }

  if (observer) {
    const auto& encoder = model.encoder();
    std::vector<float> raw(model.inputs());
    for (std::size_t i = 0; i < n; ++i) {
      if (request.raw) {
        observer->observe(caller, request.rows.row(i));
      } else if (encoder.has_text()) {
        observer->observe(caller, request.columns.row(i));
      } else {
        encoder.raw_row(request.columns.row(i), raw);
        observer->observe(caller, std::span<const float>(raw));
      }
    }
  }

  std::string body;
  body.reserve(256 + 16 * n * k);
  auto to = std::back_inserter(body);
  fmt::format_to(to, "{{\"model_name\":{},\"model_version\":{}", json_text(name), json_text(version));
  if (request.has_id) fmt::format_to(to, ",\"id\":{}", json_text(request.id));
  fmt::format_to(to, ",\"parameters\":{{\"lineage_id\":{},\"model_hash\":\"{}\"}},\"outputs\":[",
                 json_text(model.info().lineage_id), model_hash);
  if (wanted(classify ? "probabilities" : "value")) {
    fmt::format_to(to, "{{\"name\":\"{}\",\"datatype\":\"FP32\",\"shape\":[{}{}]", classify ? "probabilities" : "value",
                   n, classify ? fmt::format(",{}", k) : std::string());
    if (classify) {
      body += ",\"parameters\":{\"classes\":[";
      for (std::size_t c = 0; c < k; ++c) fmt::format_to(to, "{}{}", c ? "," : "", json_text(model.classes()[c]));
      body += "]}";
    }
    body += ",\"data\":[";
    const auto values = out.flat();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (i) body += ',';
      if (std::isfinite(values[i]))
        fmt::format_to(to, "{}", values[i]);  // shortest text that reads back to the same float
      else
        body += "null";
    }
    body += "]}";
  }
  if (classify && wanted("label")) {
    if (body.back() == '}') body += ',';
    fmt::format_to(to, "{{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[{}],\"data\":[", n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto row = out.row(i);
      const auto best = static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
      fmt::format_to(to, "{}{}", i ? "," : "", json_text(model.classes()[best]));
    }
    body += "]}";
  }
  body += "]}";
  return body;
}

}  // namespace redoubt::detail
