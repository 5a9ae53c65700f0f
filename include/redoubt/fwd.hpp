#pragma once
// Forward declarations only: this header may include nothing but <cstddef> and <cstdint>.
#include <cstddef>
#include <cstdint>

namespace redoubt {

using RowId = std::uint64_t;  ///< stable identity of a row; survives splits, copies and files

// core
enum class errc : std::uint8_t;
class Error;
class Arena;
class ProgressSink;
template <class T>
class Tensor;
template <class T>
class TensorView;
template <class T>
class MatrixView;

// data
class Schema;
class Dataset;
class RowView;
class Encoder;

// metrics, model
class Evaluation;
class Archive;
class Predictor;
class Model;

// learned forms
class Forest;
class Graph;

// robustness, lifecycle
struct Verdict;
class ScreenReport;
class Workspace;

}  // namespace redoubt
