#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

struct ArffOptions {
  std::string target = {};  ///< attribute to predict; empty: the last one
  std::string source = {};
  std::string time = {};
  std::string weight = {};
  std::vector<std::string> ignore = {};
  bool no_target = false;  ///< true: every attribute is a feature
  BadRows bad_rows = BadRows::quarantine;
};

/// Reads Weka's ARFF, dense and sparse rows: nominal (categorical, in the declared order), numeric, real, integer,
/// string (text; a string target or source becomes categorical) and ISO 8601 date attributes; quoted names and values,
/// `%` comments, CRLF, `?` for missing. Keywords in any case. A `{weight}` behind a row is refused. Instances of
/// relational attributes are Error(unsupported). A row with a wrong number of values, an undeclared nominal value or a
/// malformed number is bad (see CsvOptions). Header mistakes are Error(parse_error) with file and line.
Dataset read_arff(const std::string& path, const ArffOptions& options = {});
Dataset read_arff_text(std::string_view text, const ArffOptions& options = {}, const std::string& origin = "text");

}  // namespace redoubt
