#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "redoubt/data/dataset.hpp"

// The two structures of the Arrow C data interface, as its specification asks every user to copy them
// (https://arrow.apache.org/docs/format/CDataInterface.html). Whoever comes first defines them.
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

extern "C" {
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};
}
#endif  // ARROW_C_DATA_INTERFACE

namespace redoubt {

struct ArrowOptions {
  std::string target = {};
  std::string source = {};
  std::string time = {};
  std::string weight = {};
  std::vector<std::string> ignore = {};
  Task task = Task::none;  ///< what a numeric target means; none: at most 20 distinct whole numbers are classes
  std::size_t max_categories =
      256;  ///< string columns with more values, or with long ones, become text (see CsvOptions)
};

/// Copies a struct array (a record batch) into a dataset and releases both structures, also when it throws.
/// Children: integers and floats become numeric (64-bit integers beyond 2^53 are rounded to
/// double); booleans, dictionaries of strings and short strings become categorical; other strings text; timestamps and
/// dates become timestamps (microseconds; finer digits are cut). Null cells are missing. Anything else is
/// Error(unsupported) naming column and format. Error(corrupt) for lengths, offsets or codes that contradict each
/// other; the buffers themselves carry no size, so that the producer must be trusted to have filled them.
Dataset from_arrow(ArrowSchema* schema, ArrowArray* array, const ArrowOptions& options = {});

}  // namespace redoubt
