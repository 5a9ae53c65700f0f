#include "redoubt/data/csv_stream.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "data/csv_reader.hpp"
#include "data/input_file.hpp"
#include "data/number.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"

namespace redoubt {
namespace {

constexpr std::size_t most_rows = 4096;                    // encoded at once
constexpr std::size_t most_values = std::size_t{1} << 18;  // of them

/// How the file is written, by `given`; what its columns are, by `schema`.
CsvOptions with_columns(const Schema& schema, const CsvOptions& given) {
  CsvOptions options = given;
  options.ignore.clear();
  options.types.clear();
  options.task = Task::none;
  for (std::string* name : {&options.target, &options.source, &options.time, &options.weight}) name->clear();
  for (const ColumnSpec& spec : schema.columns()) {
    options.types.emplace_back(spec.name, spec.type);
    switch (spec.role) {
      case ColumnRole::target: options.target = spec.name; break;
      case ColumnRole::source: options.source = spec.name; break;
      case ColumnRole::time: options.time = spec.name; break;
      case ColumnRole::weight: options.weight = spec.name; break;
      case ColumnRole::ignore: options.ignore.push_back(spec.name); break;
      case ColumnRole::feature: break;
    }
  }
  return options;
}

/// Whether `given` found the classes among numbers, so that other cells are bad.
bool has_number_classes(const Schema& schema, const CsvOptions& given) {
  const ColumnSpec& target = schema[schema.find(ColumnRole::target)];
  if (given.task != Task::none || target.type != ColumnType::categorical) return false;
  for (const auto& [name, type] : given.types) {
    if (name == target.name) return false;
  }
  return std::all_of(target.categories.begin(), target.categories.end(), [](const std::string& name) {
    double value = 0;
    return detail::parse_number(name.data(), name.data() + name.size(), value);
  });
}

void check(const std::string& path, const Schema& schema, const Encoder& encoder) {
  if (schema.task() == Task::none) {
    detail::fail(errc::invalid_argument,
                 fmt::format("{}: the schema has no target of classes or values; a stream needs one", path));
  }
  if (const std::size_t weight = schema.find(ColumnRole::weight); weight != Schema::npos) {
    detail::fail(errc::unsupported, fmt::format("{}: \"{}\" holds weights, which a stream does not carry; give the "
                                                "column another role",
                                                path, schema[weight].name));
  }
  for (const ColumnSpec& wanted : encoder.schema().columns()) {
    const ColumnSpec& found = schema[schema.at(wanted.name)];
    if (found.type == wanted.type) continue;
    detail::fail(errc::type_mismatch,
                 fmt::format("{}: column \"{}\" is {} in the schema, but the encoder was fitted on a {} column", path,
                             wanted.name, to_string(found.type), to_string(wanted.type)));
  }
}

}  // namespace

struct CsvRowStream::File {
  File(const std::string& p, const Schema& schema, const Encoder& e, const CsvOptions& given,
       std::vector<RowId> without)
      : path(p), options(with_columns(schema, given)), encoder(e), input(p) {
    if (!input.regular()) {
      detail::fail(errc::unsupported, fmt::format("{} is no regular file; a stream is read several times", path));
    }
    blocks = std::make_unique<detail::Blocks>(input);
    reader = std::make_unique<detail::CsvReader>(*blocks, options, path);
    reader->begin(schema, encoder.schema(), has_number_classes(schema, given));
    reader->leave_out(std::move(without));
    most = std::clamp<std::size_t>(most_values / std::max<std::size_t>(encoder.width(), 1), 1, most_rows);
  }
  /// False at the end.
  bool fill() {
    if (failed) detail::fail(errc::refused, fmt::format("{}: after an error a stream goes on only with rewind", path));
    at = 0;
    targets.clear();
    failed = true;  // unless the rest succeeds
    detail::CsvPiece piece = reader->next(most);
    if (!piece.targets.empty()) rows = encoder.apply(piece.features);
    targets = std::move(piece.targets);
    failed = false;
    return !targets.empty();
  }

  std::string path;
  CsvOptions options;
  Encoder encoder;
  detail::InputFile input;
  std::unique_ptr<detail::Blocks> blocks;
  std::unique_ptr<detail::CsvReader> reader;
  std::size_t most = 1;
  Tensor<float> rows;
  std::vector<float> targets;  // of `rows`
  std::size_t at = 0;          // the next one
  bool failed = false;
};

CsvRowStream::CsvRowStream(const std::string& path, const Schema& schema, const Encoder& encoder,
                           const CsvOptions& options, std::vector<RowId> without) {
  check(path, schema, encoder);
  file_ = new File(path, schema, encoder, options, std::move(without));
}

CsvRowStream::~CsvRowStream() { delete file_; }

std::size_t CsvRowStream::inputs() const noexcept { return file_->encoder.width(); }
std::uint64_t CsvRowStream::quarantined() const noexcept { return file_->reader->bad_rows(); }
const std::vector<QuarantinedRow>& CsvRowStream::quarantine() const noexcept { return file_->reader->first_bad(); }

void CsvRowStream::rewind() {
  file_->at = 0;
  file_->targets.clear();
  file_->failed = false;
  file_->reader->restart();
}

std::size_t CsvRowStream::read(MatrixView<float> rows, MatrixView<float> targets) {
  if (rows.cols() != inputs() || targets.cols() != 1 || rows.rows() != targets.rows()) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("{}: {} x {} rows and {} x {} targets are wanted; rows have {} values and targets 1",
                             file_->path, rows.rows(), rows.cols(), targets.rows(), targets.cols(), inputs()));
  }
  std::size_t count = 0;
  for (; count < rows.rows(); ++count, ++file_->at) {
    if (file_->at == file_->targets.size() && !file_->fill()) break;
    const auto from = file_->rows.row(file_->at);
    std::copy(from.begin(), from.end(), rows.row(count).begin());
    targets(count, 0) = file_->targets[file_->at];
  }
  return count;
}

}  // namespace redoubt
