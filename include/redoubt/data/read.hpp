#pragma once
#include <string>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

/// Reads a data file by its ending: .arff; .npz (arrays X and y); .npy; .libsvm, .svm; anything else is
/// delimited text. The roles in `options` apply to every kind that has column names; what only concerns delimited
/// text is ignored by the others. An ARFF file without `options.target` predicts its last attribute.
Dataset read_file(const std::string& path, const CsvOptions& options = {});

}  // namespace redoubt
