#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/row_stream.hpp"
#include "redoubt/data/schema.hpp"

namespace redoubt {

/// Rows of a CSV file, encoded as they pass: the same values and targets, bit for bit, as `encoder.apply` and the
/// target of `read_csv(path, options)` have, if that finds the columns of `schema`. Targets are class codes of `schema`
/// or values.
///
/// A first look gives schema and encoder, which never change while rows pass:
///
///     const CsvOptions options{.target = "fraud"};
///     const Dataset sample = read_csv_sample("large.csv", options);
///     const Encoder encoder = Encoder::fit(sample, EncoderOptions::dense());
///     CsvRowStream rows("large.csv", sample.schema(), encoder, options);
///
/// `schema` decides types, roles and classes, whatever `options` say of them; columns that it does not have are not
/// read. Categories that the encoder does not know count as missing. `options` say how the file is written and what
/// happens to bad rows: with BadRows::quarantine they are left out and counted, and Error(parse_error) comes at the end
/// if most were bad; with BadRows::error the first one is Error(parse_error) naming file, line, field and reason. A row
/// whose target is missing or no class of `schema` is that error in either case.
///
/// Rows whose ids are in `without` are left out, so that some rows of the sample can be held out; rows elsewhere that
/// equal them are not.
///
/// Holds a block of text (256 KiB, or one longer row; at most 16 MiB), and the typed and encoded form of up to 4096
/// rows, 1 MiB of encoded numbers. After an error `read` is Error(refused) until `rewind`. Not thread-safe; encodes on
/// the default arena.
class CsvRowStream final : public RowStream {
 public:
  /// Error(invalid_argument) if `schema` has no target of classes or values; Error(unsupported) if it has a weight (a
  /// stream carries none: give it another role), if the file is no regular one, or if a wanted column holds times as
  /// numbers; Error(not_found) naming a column that the file or the schema lacks, Error(type_mismatch) naming a column
  /// whose type is not the encoder's; else what `read_csv` throws for a file without rows.
  CsvRowStream(const std::string& path, const Schema& schema, const Encoder& encoder, const CsvOptions& options = {},
               std::vector<RowId> without = {});
  ~CsvRowStream() override;
  CsvRowStream(const CsvRowStream&) = delete;
  CsvRowStream& operator=(const CsvRowStream&) = delete;
  std::size_t inputs() const noexcept override;  ///< of the encoder: its width
  std::size_t targets() const noexcept override { return 1; }
  std::size_t read(MatrixView<float> rows, MatrixView<float> targets) override;
  void rewind() override;

  std::uint64_t quarantined() const noexcept;  ///< bad rows left out since the last rewind
  /// The first 100 of them.
  const std::vector<QuarantinedRow>& quarantine() const noexcept;

 private:
  struct File;
  File* file_ = nullptr;
};

}  // namespace redoubt
