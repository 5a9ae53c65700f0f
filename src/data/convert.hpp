#pragma once
#include "redoubt/data/column.hpp"

namespace redoubt::detail {

/// Cells as categories with sorted names; missing stays missing.
Column to_categorical(const Column& column);

/// Numbers since 1970 or ISO 8601 texts as timestamps. Numbers are seconds, milliseconds, microseconds or nanoseconds,
/// told apart by the largest magnitude: below 1e11, 1e14 and 1e17 (seconds up to the year 5138, and so on).
/// Error(type_mismatch) names column, row and cell.
Column to_timestamp(const Column& column);

}  // namespace redoubt::detail
