#pragma once
// What a node of a bagged tree adds up, in three kinds. Each holds the bins of the column under trial (all zero between
// two columns), the sums of the node, and those of the left side of the split under trial.
//
// With s the weighted sums over a node (per class, or of the distance from the mean) and w its weight, both Gini
// impurity and variance fall most where sum(s^2) / w of the children is largest: that is the score, and its excess over
// that of the node the gain. With two classes (s, w - s) the gain is 2 d^2 / (w l r), d = s_l w - s l, where l + r = w
// are the weights of the children and s_l is s of the left one; the score is d^2 / (l r) (kernels/bagging_table.hpp).
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

namespace redoubt::detail {

constexpr double no_split = -std::numeric_limits<double>::infinity();

/// Two classes, whole weights: one number holds the weight (upper half) and that of class 1, so that a row is one
/// addition.
class TwoClassSums {
 public:
  using Row = std::uint64_t;
  static Row row(std::uint32_t label, std::uint32_t times) { return (Row{times} << 32) | (label ? times : 0); }
  explicit TwoClassSums(std::size_t) {}

  void add(std::uint32_t bin, Row row) { bins_[bin] += row; }
  bool any(std::uint32_t bin) const { return bins_[bin] != 0; }
  void clear(std::uint32_t bin) { bins_[bin] = 0; }
  void start_left() { left_ = 0; }
  void move_left(std::uint32_t bin) { left_ += bins_[bin]; }
  void move_back(std::uint32_t bin) { left_ -= bins_[bin]; }
  void add_left_if(bool yes, Row row) { left_ += row & (std::uint64_t{0} - yes); }
  void add_left(std::uint64_t rows) { left_ += rows; }
  /// Whether all rows are of one kind.
  bool start_node(const Row* rows, std::size_t count) {
    node_ = 0;
    for (std::size_t i = 0; i < count; ++i) node_ += rows[i];
    return ones(node_) == 0 || ones(node_) == weight(node_);
  }
  double node_weight() const { return static_cast<double>(weight(node_)); }
  double left_weight() const { return static_cast<double>(weight(left_)); }
  std::uint64_t node() const { return node_; }
  double gain(double score) const { return 2 * score / node_weight(); }
  double split_score() const {
    const double w = node_weight(), left = left_weight(), right = w - left;
    if (!(left > 0 && right > 0)) return no_split;
    const double distance = static_cast<double>(ones(left_)) * w - static_cast<double>(ones(node_)) * left;
    return distance * distance / (left * right);
  }
  /// The sums of the bins. Whoever adds to them clears them.
  std::uint64_t* bins() { return bins_; }
  /// Ascending in the order of the best categorical split.
  double mean(std::uint32_t bin) const {
    return static_cast<double>(ones(bins_[bin])) / static_cast<double>(weight(bins_[bin]));
  }
  void leaf(std::vector<float>& values, double) const {
    const double one = static_cast<double>(ones(node_)) / node_weight();
    const double zero = static_cast<double>(weight(node_) - ones(node_)) / node_weight();
    values.push_back(static_cast<float>(zero));
    values.push_back(static_cast<float>(one));
  }

 private:
  static std::uint32_t ones(std::uint64_t s) { return static_cast<std::uint32_t>(s); }
  static std::uint32_t weight(std::uint64_t s) { return static_cast<std::uint32_t>(s >> 32); }
  std::uint64_t bins_[256] = {};
  std::uint64_t node_ = 0, left_ = 0;
};

/// Values: the distance from the mean of all, so that squares lose no digits.
class MeanSums {
 public:
  struct Row {
    double value, weight;
  };
  explicit MeanSums(std::size_t) {}

  void add(std::uint32_t bin, Row row) {
    bins_[bin].sum += row.weight * row.value;
    bins_[bin].weight += row.weight;
  }
  bool any(std::uint32_t bin) const { return bins_[bin].weight > 0; }
  void clear(std::uint32_t bin) { bins_[bin] = {}; }
  void start_left() { left_ = {}; }
  void move_left(std::uint32_t bin) {
    left_.sum += bins_[bin].sum;
    left_.weight += bins_[bin].weight;
  }
  void move_back(std::uint32_t bin) {
    left_.sum -= bins_[bin].sum;
    left_.weight -= bins_[bin].weight;
  }
  void add_left_if(bool yes, Row row) {
    const double w = yes ? row.weight : 0;
    left_.sum += w * row.value;
    left_.weight += w;
  }
  bool start_node(const Row* rows, std::size_t count) {
    node_ = {};
    bool pure = true;
    for (std::size_t i = 0; i < count; ++i) {
      node_.sum += rows[i].weight * rows[i].value;
      node_.weight += rows[i].weight;
      pure &= rows[i].value == rows[0].value;
    }
    return pure;
  }
  double node_weight() const { return node_.weight; }
  double left_weight() const { return left_.weight; }
  double gain(double score) const { return std::max(score - node_.sum * node_.sum / node_.weight, 0.0); }
  double split_score() const {
    const double right = node_.sum - left_.sum, right_weight = node_.weight - left_.weight;
    // Lost in rounding beside much larger weights.
    if (!(left_.weight > 0 && right_weight > 0)) return no_split;
    return (left_.sum * left_.sum * right_weight + right * right * left_.weight) / (left_.weight * right_weight);
  }
  double mean(std::uint32_t bin) const { return bins_[bin].sum / bins_[bin].weight; }
  void leaf(std::vector<float>& values, double mean) const {
    values.push_back(static_cast<float>(mean + node_.sum / node_.weight));
  }

 private:
  struct Bin {
    double sum = 0, weight = 0;
  };
  Bin bins_[256];
  Bin node_, left_;
};

/// Classes, with weights of type T: std::uint32_t or double. Sums of squares of whole numbers are exact: they are at
/// most the square of a sum below 2^32.
template <class T>
class ClassSums {
  using Square = std::conditional_t<std::is_integral_v<T>, std::uint64_t, double>;

 public:
  struct Row {
    std::uint32_t label;
    T weight;
  };
  explicit ClassSums(std::size_t classes)
      : classes_(classes), bins_(256 * classes), weights_(256), node_(classes), left_(classes) {}

  void add(std::uint32_t bin, Row row) {
    bins_[bin * classes_ + row.label] += row.weight;
    weights_[bin] += row.weight;
  }
  bool any(std::uint32_t bin) const { return weights_[bin] > 0; }
  void clear(std::uint32_t bin) {
    std::fill_n(&bins_[bin * classes_], classes_, T{0});
    weights_[bin] = 0;
  }
  void start_left() {
    std::fill(left_.begin(), left_.end(), T{0});
    left_weight_ = 0;
  }
  void move_left(std::uint32_t bin) {
    for (std::size_t k = 0; k < classes_; ++k) left_[k] += bins_[bin * classes_ + k];
    left_weight_ += weights_[bin];
  }
  void move_back(std::uint32_t bin) {
    for (std::size_t k = 0; k < classes_; ++k) left_[k] -= bins_[bin * classes_ + k];
    left_weight_ -= weights_[bin];
  }
  void add_left_if(bool yes, Row row) {
    const T w = yes ? row.weight : T{0};
    left_[row.label] += w;
    left_weight_ += w;
  }
  bool start_node(const Row* rows, std::size_t count) {
    std::fill(node_.begin(), node_.end(), T{0});
    node_weight_ = 0;
    bool pure = true;
    for (std::size_t i = 0; i < count; ++i) {
      node_[rows[i].label] += rows[i].weight;
      node_weight_ += rows[i].weight;
      pure &= rows[i].label == rows[0].label;
    }
    largest_ = static_cast<std::size_t>(std::max_element(node_.begin(), node_.end()) - node_.begin());
    return pure;
  }
  double node_weight() const { return static_cast<double>(node_weight_); }
  double left_weight() const { return static_cast<double>(left_weight_); }
  double gain(double score) const {
    Square squares = 0;
    for (std::size_t k = 0; k < classes_; ++k) squares += Square{node_[k]} * node_[k];
    return std::max(score - static_cast<double>(squares) / static_cast<double>(node_weight_), 0.0);
  }
  double split_score() const {
    const T right_weight = node_weight_ - left_weight_;
    if (!(left_weight_ > 0 && right_weight > 0)) return no_split;
    Square left = 0, right = 0;
    for (std::size_t k = 0; k < classes_; ++k) {
      const Square l = left_[k];
      const Square r = static_cast<T>(node_[k] - left_[k]);
      left += l * l;
      right += r * r;
    }
    return static_cast<double>(left) / static_cast<double>(left_weight_) +
           static_cast<double>(right) / static_cast<double>(right_weight);
  }
  /// The share of the node's largest class: with more than two classes its order is a heuristic.
  double mean(std::uint32_t bin) const {
    return static_cast<double>(bins_[bin * classes_ + largest_]) / static_cast<double>(weights_[bin]);
  }
  void leaf(std::vector<float>& values, double) const {
    for (const T s : node_) values.push_back(static_cast<float>(static_cast<double>(s) / node_weight()));
  }

 private:
  std::size_t classes_, largest_ = 0;
  std::vector<T> bins_, weights_;
  std::vector<T> node_, left_;
  T node_weight_ = 0, left_weight_ = 0;
};

}  // namespace redoubt::detail
