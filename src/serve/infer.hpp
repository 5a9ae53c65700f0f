#pragma once
// Bodies of infer requests and answers, without any transport.
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/schema.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {
class InputGuard;
class Observer;
}  // namespace redoubt

namespace redoubt::detail {

/// A parsed request: either raw rows or typed columns.
struct InferRequest {
  std::string id;
  bool has_id = false;
  bool raw = false;
  Tensor<float> rows;                ///< raw
  Dataset columns;                   ///< not raw: exactly the schema's columns, in its order
  std::vector<std::string> outputs;  ///< wanted; empty: all
  std::size_t count() const { return raw ? rows.rows() : columns.rows(); }
};

/// Parses `body` for a model with these feature columns. Error(parse_error, invalid_argument, shape_mismatch,
/// type_mismatch or unsupported) says which input is wrong; nothing else is thrown but bad_alloc.
InferRequest parse_infer(std::string_view body, const Schema& schema, std::size_t max_rows);

/// Datatype of the protocol for a column.
const char* datatype_of(const ColumnSpec& column) noexcept;

/// Shows every row to the guard. Error(refused) names row, column and reason of the first that is rejected; what is
/// clipped is replaced (not in models with text columns, whose rows have no raw form: there it is only counted).
void guard_rows(InferRequest& request, const Model& model, InputGuard& guard);

/// Predicts and writes the answer. `observer` may be null.
std::string answer_infer(const InferRequest& request, const Model& model, std::string_view name,
                         std::string_view version, std::string_view model_hash, std::string_view caller,
                         Observer* observer);

std::string json_text(std::string_view text);  ///< quoted and escaped; broken UTF-8 is replaced

}  // namespace redoubt::detail
