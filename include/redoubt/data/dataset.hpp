#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/data/column.hpp"
#include "redoubt/data/schema.hpp"

namespace redoubt {

/// A row that could not be read, and why. Kept beside the data, never silently dropped.
struct QuarantinedRow {
  std::string file;
  std::size_t line = 0;    ///< 1-based line where the row starts
  std::size_t column = 0;  ///< 1-based field
  std::string reason;
};

/// Typed columns with stable row ids. Value type: copies share the columns, every operation that
/// changes anything returns a new Dataset. Thread-safety: const members may run concurrently.
class Dataset {
 public:
  Dataset() = default;
  /// Columns of equal length. Row ids default to 0..n-1. Throws Error(shape_mismatch) naming both lengths.
  explicit Dataset(std::vector<Column> columns, std::vector<RowId> row_ids = {});
  /// Numeric features `x` (rows x cols, NaN = missing) named f0, f1, ... and a target column "target":
  /// class codes 0..k-1 (classification, names "0".."k-1") or values (regression).
  static Dataset from_matrix(MatrixView<const float> x, std::span<const std::int32_t> labels);
  static Dataset from_matrix(MatrixView<const float> x, std::span<const double> targets);
  static Dataset from_matrix(MatrixView<const float> x);

  std::size_t rows() const noexcept { return row_ids_.size(); }
  std::size_t cols() const noexcept { return schema_.size(); }
  const Schema& schema() const noexcept { return schema_; }
  Task task() const noexcept { return schema_.task(); }
  const Column& column(std::size_t index) const noexcept { return *columns_[index]; }
  const Column& column(std::string_view name) const { return *columns_[schema_.at(name)]; }
  std::span<const RowId> row_ids() const noexcept { return row_ids_; }

  /// Target of a classification task: class codes (-1 = missing) into `classes()`. Error(type_mismatch) otherwise.
  std::span<const std::int32_t> labels() const;
  std::span<const std::string> classes() const;
  /// Target of a regression task. Error(type_mismatch) otherwise.
  std::span<const double> targets() const;
  /// Codes of the source column into `source_names()`; empty without one. Numeric or text sources are
  /// turned into categories when the role is given.
  std::span<const std::int32_t> sources() const noexcept;
  std::span<const std::string> source_names() const noexcept;
  std::span<const std::int64_t> times() const noexcept;  ///< empty without a time column
  std::span<const double> weights() const noexcept;      ///< empty without a weight column (all ones)

  RowView row(std::size_t index) const noexcept;  ///< unchecked; predicting a row beyond rows() throws

  // --- subsets; row ids, quarantine and the seal are kept -----------------------------------------
  Dataset take(std::span<const std::size_t> rows) const;
  Dataset take_ids(std::span<const RowId> ids) const;  ///< rows whose id is listed, in dataset order
  Dataset without(std::span<const RowId> ids) const;   ///< rows whose id is not listed
  Dataset without_sources(std::span<const std::string> names) const;
  static Dataset concat(const Dataset& first, const Dataset& second);  ///< same schema; categories are united
  /// A copy in which column `name` is replaced (same length), for example with corrected labels.
  Dataset with_column(Column column) const;
  Dataset with_role(std::string_view name, ColumnRole role) const;

  // --- splits: see data/split.hpp for more --------------------------------------------------------
  /// {train, test}: stratified by class; equal rows never straddle. test_fraction in (0, 1).
  std::pair<Dataset, Dataset> split(double test_fraction, std::uint64_t seed) const;

  // --- identity -----------------------------------------------------------------------------------
  /// SHA-256 over schema, row ids and every cell: changes with any byte of the data.
  std::string hash() const;
  /// 64-bit hash of a row's feature cells (not of target, source, time, weight, ignored columns).
  std::uint64_t feature_hash(std::size_t row) const;

  // --- sealed holdout -----------------------------------------------------------------------------
  /// A copy that may be evaluated but never trained on, nor any subset or union of it.
  Dataset seal() const;
  bool sealed() const noexcept { return sealed_; }
  /// Throws Error(refused) if sealed, Error(invalid_argument) if empty or without a usable target
  /// (when `needs_target`). Every `fit` calls this first.
  void require_trainable(bool needs_target = true) const;

  const std::vector<QuarantinedRow>& quarantine() const noexcept { return quarantine_; }
  Dataset with_quarantine(std::vector<QuarantinedRow> rows) const;

 private:
  Schema schema_;
  std::vector<Shared<const Column>> columns_;
  std::vector<RowId> row_ids_;
  std::vector<QuarantinedRow> quarantine_;
  bool sealed_ = false;
};

/// One row of a dataset, by reference: the dataset must outlive it.
class RowView {
 public:
  RowView(const Dataset& data, std::size_t row) noexcept : data_(&data), row_(row) {}
  const Dataset& dataset() const noexcept { return *data_; }
  std::size_t index() const noexcept { return row_; }
  RowId id() const noexcept { return data_->row_ids()[row_]; }

 private:
  const Dataset* data_;
  std::size_t row_;
};

inline RowView Dataset::row(std::size_t index) const noexcept { return {*this, index}; }

}  // namespace redoubt
