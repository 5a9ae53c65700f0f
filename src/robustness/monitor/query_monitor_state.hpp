#pragma once
// What the parts of the query monitor share: its constants and its state.
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "redoubt/core/hash.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/monitor/query_monitor.hpp"
#include "robustness/monitor/row_density.hpp"

namespace redoubt {
namespace detail::query_monitor {

constexpr std::size_t bands = 6;             // hash tables over everybody's queries
constexpr std::size_t recent = 4;            // queries kept per caller
constexpr std::size_t ways = 4;              // callers per set of the caller table
constexpr std::size_t lock_stripes = 64;     // per table
constexpr std::size_t text_fields = 16;      // min-hash fields per text column
constexpr std::size_t widest_sketch = 1024;  // bytes; bound of max_fields
constexpr std::size_t sketch_block = 8;      // bytes compared at once, or twice as many
constexpr std::size_t most_alarms = 1024;
constexpr std::size_t most_reference = 8192;
constexpr std::size_t fewest_reference = 100;
constexpr std::uint8_t missing_value = 255;
constexpr double attack_link_rate = 0.7;         // links an attacker is assumed to make, for the likelihood ratio
constexpr double wanted_link_rate = 0.02;        // of benign queries
constexpr double strange_horizon = 256;          // queries over which everybody's share of strange rows is formed
constexpr double strange_volume_horizon = 1024;  // the same, every query counted alike
constexpr double drift_factor = 2;               // how much more than everybody a caller must be strange
constexpr double step_shrinks = 0.4;             // finer sketches where benign rows repeat
constexpr double finest_step = 0.15;             // of the wanted step
constexpr double repetitive = 0.25;              // share of benign queries that link: more needs finer sketches
constexpr double fewest_chain = 16;              // near-identical queries that may raise a chain alarm

inline std::uint64_t mix(std::uint64_t x) noexcept {  // finaliser of splitmix64
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

inline std::uint8_t category_byte(std::string_view name) noexcept {
  return static_cast<std::uint8_t>(hash64(name) % missing_value);
}

/// One compared byte of a sketch.
struct Field {
  std::uint32_t column = 0;  // index into the feature columns
  ColumnType type = ColumnType::numeric;
  std::uint32_t part = 0;  // text: which min-hash
};

/// Sketch header; the bytes lie in a separate array.
struct Seen {
  std::uint64_t exact = 0;  // hash of the raw row, 0 = empty slot
  std::uint64_t caller = 0;
  std::uint64_t when = 0;  // query number
  float chain = 0;         // decaying count of links
};

struct Caller {
  std::uint64_t id = 0;
  std::uint64_t last = 0;  // query number; 0 = free
  float score = 0;         // CUSUM of links, alarm at 1
  float strange = 0;       // CUSUM of strange rows
  std::uint32_t next = 0;  // slot to overwrite
  std::array<std::uint64_t, recent> exact{};
};

struct Likeness {
  float similarity = 0;
  std::uint32_t changed = 0;
};

}  // namespace detail::query_monitor

using namespace detail::query_monitor;  // this header is for the two sources of QueryMonitor alone

struct QueryMonitor::State {
  QueryMonitorOptions options;
  Schema schema;  // feature columns; empty if made from a matrix
  std::size_t columns = 0;
  std::vector<Field> fields;
  std::vector<std::uint32_t> other_fields;  // that are no numbers
  std::vector<float> low, inverse_step;     // per field: how a number becomes its byte
  std::vector<std::uint8_t> tolerance;      // per byte
  std::vector<std::uint16_t> weight;        // per field, of all_weight; then zeros, a block beyond stride()
  float all_weight = 1;                     // at most 65535: sums fit 16 bits
  std::vector<std::vector<std::uint8_t>> category_bytes;  // per column: code -> byte
  struct BandField {
    std::uint32_t field, offset;
  };
  std::array<std::vector<BandField>, bands> band_fields;
  QueryMonitorCalibration calibration;
  float strange_slack = 1;             // above 1 where benign strange rows come in runs
  float link_gain = 0, miss_loss = 0;  // CUSUM steps in units of the alarm level
  detail::RowDensity density;
  std::atomic<float> strange_sum{0}, weight_sum{0};  // recent; every caller counts alike, however often it asks
  std::atomic<float> strange_volume{0};              // recent share; every query counts alike
  double step = 0.25;                                // in standard deviations
  double horizon = 4096;                             // queries after which a chain link has decayed to 1/e

  std::vector<Seen> seen;                   // bands x buckets
  std::vector<std::uint8_t> seen_sketch;    // bands x buckets x stride
  std::vector<Caller> callers;              // sets x ways
  std::vector<std::uint8_t> caller_sketch;  // callers x recent x stride
  std::array<std::mutex, bands * lock_stripes> band_locks;
  std::array<std::mutex, lock_stripes> caller_locks;
  std::atomic<std::uint64_t> queries{0}, suspicious{0};

  mutable std::mutex alarm_lock;
  std::vector<ProbeAlarm> alarms;  // reserved to most_alarms

  explicit State(const QueryMonitorOptions& o);
  std::size_t width() const noexcept { return fields.size(); }
  /// Bytes from sketch to sketch: whole blocks, zeros behind the fields.
  std::size_t stride() const noexcept { return (width() + sketch_block - 1) / sketch_block * sketch_block; }

  // --- sketches -------------------------------------------------------------------------------------
  /// Writes a sketch, stride() bytes; returns a hash of the raw row.
  std::uint64_t sketch(std::span<const float> row, std::uint8_t* out) const noexcept;
  std::uint64_t sketch(const RowView& row, std::uint8_t* out) const noexcept;

  /// One byte of the smallest keyed hash over the words, per field.
  static void min_hashes(std::string_view text, std::span<const Field> parts, std::uint8_t* out) noexcept;
  Likeness compare(const std::uint8_t* a, const std::uint8_t* b) const noexcept;
  std::size_t bucket(std::size_t band, const std::uint8_t* sketch) const noexcept;

  // --- everybody's queries --------------------------------------------------------------------------
  struct Link {
    Likeness likeness;
    float chain = 0;
    bool found = false;
  };

  /// Where everybody's tables hold what is like this sketch; fetches it.
  std::array<std::size_t, bands> fetch_slots(const std::uint8_t* sketch) const noexcept;
  /// Null: not in its set. The set's lock is held.
  Caller* find_caller(std::size_t set, std::uint64_t id) noexcept;
  /// Fetches the caller's own queries.
  void fetch_recent(std::size_t set, std::uint64_t id) noexcept;

  /// Nearest remembered query of anybody, then remembers this one. `threshold` decides whether the chain goes on.
  Link link_and_store(const std::array<std::size_t, bands>& slots, const std::uint8_t* sketch, std::uint64_t exact,
                      std::uint64_t caller, std::uint64_t now, float threshold) noexcept;
  QueryVerdict judge(std::uint64_t caller_id, const std::uint8_t* sketch, std::uint64_t exact) noexcept;
  double strange_share() const noexcept;

  /// What this row adds to its caller's evidence, against the usual share of strange rows or, if larger, everybody's
  /// recent one. That is the smaller of two: by queries, and by callers, where each weighs as much as the time since
  /// its latest query. So an attacker hides neither by asking much nor by asking from many accounts, but only by both.
  /// A lost update by another thread does no harm.
  float step_of_strange(bool strange, std::uint64_t gap) noexcept;
  float strange_gain(bool strange, double recent) const noexcept;
  void record(std::uint64_t caller, const QueryVerdict& verdict, std::uint64_t now) noexcept;

  // --- construction -----------------------------------------------------------------------------------
  /// Fields of `count` columns; a keyed choice if there are more than max_fields.
  void choose_fields(std::span<const ColumnType> types);

  /// Steps of a numeric column from its finite values.
  void set_steps(std::size_t field, std::vector<float> values);
  void allocate();
  void forget();

  /// Sketches of the reference and all thresholds; finer steps while too many benign rows look alike.
  template <class Values, class Sketch>
  void learn(std::size_t rows, Values&& values_of, Sketch&& sketch_of);

  /// `sketches`: reference rows x stride(), in their order.
  void calibrate(const std::vector<std::uint8_t>& sketches, std::size_t rows);
};

}  // namespace redoubt
