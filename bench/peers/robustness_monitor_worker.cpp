// Attackers as clients of a served model among real traffic, watched by QueryMonitor, Blacklight and PRADA.
// Usage: peer_robustness_monitor_worker MODE KEY=VALUE...
//   detect  set=elec|weather|campaign|sms|fashion data=FOLDER [attacks=N] [train=PERCENT]: prints
//             "benign SET MONITOR ALARMS QUERIES" on the last part of the traffic, in its order, 20 callers at random
//             "single SET MONITOR ALARMS QUERIES" the same, one caller
//             "runs SET ATTACK MONITOR N N ...": of every attack, the queries until the first alarm, -N of one that
//                was not seen in N queries
//   cost    prints "p50 FIELDS NANOSECONDS", "guard FIELDS NANOSECONDS" (mean) and "callers BYTES NANOSECONDS" (one
//           million callers)
// A monitor is silent: no answer depends on it. So the queries of an attack are recorded once, from a client that asks
// the model, and every monitor is shown the same ones, one in five of all traffic.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/idx.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/model/predictor.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "redoubt/robustness/monitor/blacklight.hpp"
#include "redoubt/robustness/monitor/input_guard.hpp"
#include "redoubt/robustness/monitor/prada.hpp"
#include "redoubt/robustness/monitor/query_monitor.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

struct Query {
  std::vector<float> row;  // raw; of texts: encoded
  std::string text;
  std::size_t label = 0;  // answered
  std::uint64_t account = 0;
};
using Trace = std::vector<Query>;

std::size_t top(std::span<const float> p) {
  return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
}

/// A served model, its traffic in order, and what an attacker knows of the columns.
struct Case {
  std::string name;
  Model model;
  Dataset reference;
  Trace calibration, test;  // benign
  Tensor<float> reference_rows;
  std::vector<FeatureRule> rules;
  bool text = false;

  std::size_t answer(std::span<const float> row) const {
    std::vector<float> out(model.outputs());
    if (text) {
      std::vector<float> scratch(model.predictor().scratch_size());
      model.predictor().predict(row, out, scratch);
    } else if (model.predict(row, out) != errc::ok) {
      detail::fail(errc::internal, "a query cannot be predicted");
    }
    return top(out);
  }
};

Dataset part(const Dataset& data, std::size_t from, std::size_t to) {
  std::vector<std::size_t> rows;
  for (std::size_t r = from; r < to; ++r) rows.push_back(r);
  return data.take(rows);
}

Case make_case(const std::string& name, const std::string& folder, int percent) {
  Case c;
  c.name = name;
  Dataset data;
  if (name == "elec") {
    data = read_csv(folder + "/drift_streams/elec.csv", {.target = "class"});
  } else if (name == "weather") {
    data = read_csv(folder + "/drift_streams/weather.csv", {.target = "target"});
  } else if (name == "campaign") {
    data = read_npz_dataset(folder + "/adbench/5_campaign.npz");
  } else if (name == "sms") {
    data = read_csv(folder + "/sms_spam/SMSSpamCollection", {.target = "c1",
                                                             .types = {{"c2", ColumnType::text}},
                                                             .delimiter = '\t',
                                                             .header = Header::absent,
                                                             .quoting = false});
    c.text = true;
  } else {
    data = part(read_idx(folder + "/fashion_mnist/train-images-idx3-ubyte.gz",
                         folder + "/fashion_mnist/train-labels-idx1-ubyte.gz"),
                0, 24000);
  }
  // The reference of the monitors is recent: the end of the training rows.
  const std::size_t n = data.rows(), train = n * static_cast<std::size_t>(percent) / 100, until = n * 3 / 4;
  const Dataset first = part(data, 0, train);
  if (c.text)
    c.model = LogisticRegression{}.fit(first);
  else if (name == "fashion")
    c.model = Mlp{{.hidden = {64}, .epochs = 8}}.fit(first);
  else
    c.model = GradientBoosting{{.trees = 100}}.fit(first);
  c.reference = part(first, train > 8192 ? train - 8192 : 0, train);
  const auto traffic = [&](const Dataset& rows) {
    Trace trace(rows.rows());
    const Tensor<float> encoded = c.text ? c.model.encoder().apply(rows) : Tensor<float>();
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      trace[r].row.resize(c.text ? c.model.encoder().width() : c.model.inputs());
      if (c.text) {
        std::copy(encoded.row(r).begin(), encoded.row(r).end(), trace[r].row.begin());
        trace[r].text = rows.column("c2").texts[r];
      } else {
        c.model.encoder().raw_row(rows.row(r), trace[r].row);
      }
      trace[r].label = c.answer(trace[r].row);
    }
    return trace;
  };
  c.calibration = traffic(part(data, train, until));
  c.test = traffic(part(data, until, n));
  const Trace reference = traffic(c.reference);
  const std::size_t d = reference[0].row.size();
  c.reference_rows = Tensor<float>({reference.size(), d});
  for (std::size_t r = 0; r < reference.size(); ++r)
    std::copy(reference[r].row.begin(), reference[r].row.end(), c.reference_rows.row(r).begin());
  for (std::size_t k = 0; k < d; ++k) {
    FeatureRule rule{.whole = true, .lower = INFINITY, .upper = -INFINITY};
    double mean = 0, squares = 0;
    for (std::size_t r = 0; r < reference.size(); ++r) {
      const float v = reference[r].row[k];
      rule.lower = std::min(rule.lower, v), rule.upper = std::max(rule.upper, v);
      rule.whole = rule.whole && v == std::floor(v);
      mean += v / static_cast<double>(reference.size());
      squares += static_cast<double>(v) * v / static_cast<double>(reference.size());
    }
    rule.whole = rule.whole && name != "fashion";
    const double deviation = std::sqrt(std::max(0.0, squares - mean * mean));
    rule.unit = name == "fashion" ? 70 : deviation > 1e-6 ? deviation : 1;  // grey levels have one unit
    if (name == "fashion") rule.lower = 0, rule.upper = 255;
    c.rules.push_back(rule);
  }
  return c;
}

/// Asks the served model and remembers what it asked.
class Client final : public Predictor {
 public:
  Client(const Case& c, double noise, std::uint64_t seed) : case_(c), noise_(noise), random_(seed, 77) {}
  std::string_view form() const noexcept override { return "client"; }
  std::size_t inputs() const noexcept override { return case_.model.inputs(); }
  std::size_t outputs() const noexcept override { return case_.model.outputs(); }
  void predict(std::span<const float> src, std::span<float> dst, std::span<float>) const noexcept override {
    std::vector<float> row(src.begin(), src.end());
    for (std::size_t k = 0; noise_ > 0 && k < row.size(); ++k)
      if (const FeatureRule& r = case_.rules[k]; !r.whole)
        row[k] = std::clamp(static_cast<float>(row[k] + noise_ * r.unit * random_.normal()), r.lower, r.upper);
    case_.model.predict(row, dst);
    trace.push_back({std::move(row), {}, top(dst), 0});
  }
  void predict_batch(MatrixView<const float> src, MatrixView<float> dst, Arena*) const override {
    for (std::size_t r = 0; r < src.rows(); ++r) predict(src.row(r), dst.row(r), {});
  }
  void save(Archive&) const override { detail::fail(errc::unsupported, "a client is not saved"); }
  mutable Trace trace;

 private:
  const Case& case_;
  double noise_;
  mutable Random random_;
};

Trace attack_trace(const Case& c, AttackMethod method, const Query& victim, int budget, double radius, double noise,
                   std::uint64_t seed) {
  const Client client(c, noise, seed);
  Tensor<float> row({1, victim.row.size()});
  std::copy(victim.row.begin(), victim.row.end(), row.data());
  const std::vector<std::int32_t> label{static_cast<std::int32_t>(victim.label)};
  const bool square = method == AttackMethod::square;
  attack(client, row, label,
         {.method = method,
          .norm = square ? AttackNorm::linf : AttackNorm::l2,
          .radius = radius,
          .steps = budget - 1,
          .rules = c.rules,
          .image_width = c.name == "fashion" ? 28u : 0u,
          .seed = seed});
  return client.trace;
}

/// Varies one or two fields of a record, bisecting to where the answer changes.
Trace boundary_trace(const Case& c, const Query& victim, int budget, Random& random) {
  const Client client(c, 0, 1);
  std::vector<float> out(c.model.outputs());
  const auto ask = [&](const std::vector<float>& row) {
    client.predict(row, out, {});
    return top(out) != victim.label;
  };
  const auto left = [&] { return static_cast<int>(client.trace.size()) < budget; };
  const auto settle = [&](std::size_t k, float v) { return c.rules[k].whole ? std::round(v) : v; };
  while (left()) {
    std::vector<float> base = victim.row;
    if (client.trace.size() > static_cast<std::size_t>(budget) / 3) {
      const std::size_t k = random.below(base.size());
      base[k] = settle(k, static_cast<float>(random.uniform(c.rules[k].lower, c.rules[k].upper)));
    }
    const std::size_t k = random.below(base.size());
    for (const float end : {c.rules[k].lower, c.rules[k].upper}) {
      std::vector<float> row = base;
      row[k] = end;
      if (!left() || !ask(row)) continue;
      float low = base[k], high = end;
      for (int i = 0; i < 8 && left(); ++i) {
        row[k] = settle(k, (low + high) / 2);
        (ask(row) ? high : low) = row[k];
      }
    }
  }
  return client.trace;
}

/// Words of a message replaced, left out or put in, one or two at a time, keeping what lowers the answer's certainty.
Trace words_trace(const Case& c, const Query& victim, int budget, Random& random) {
  const auto words_of = [](const std::string& text) {
    std::vector<std::string> words{""};
    for (const char letter : text)
      if (letter == ' ')
        words.emplace_back();
      else
        words.back() += letter;
    return words;
  };
  Trace trace;
  std::vector<std::string> best = words_of(victim.text);
  double least = 2;
  for (int i = 0; i < budget; ++i) {
    std::vector<std::string> words = best;
    for (std::size_t changes = 1 + random.below(2); changes > 0; --changes) {
      const auto other = words_of(c.calibration[random.below(c.calibration.size())].text);
      const std::string& word = other[random.below(other.size())];
      const std::size_t at = random.below(words.size());
      const auto what = random.below(3);
      if (what == 0) words[at] = word;
      if (what == 1 && words.size() > 3) words.erase(words.begin() + static_cast<std::ptrdiff_t>(at));
      if (what == 2) words.insert(words.begin() + static_cast<std::ptrdiff_t>(at), word);
    }
    Query query;
    for (const auto& word : words) query.text += (query.text.empty() ? "" : " ") + word;
    Column column{{"c2", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
    column.texts.push_back(query.text);
    const Dataset asked({column});
    query.row.resize(c.model.encoder().width());
    c.model.encoder().apply(asked.row(0), query.row);
    const auto p = c.model.predict_proba(asked.row(0));
    query.label = top(p);
    trace.push_back(std::move(query));
    if (p[victim.label] < least) least = p[victim.label], best = words;
  }
  return trace;
}

/// Rows to train a copy on. Kind 0: uniform in each column's range; 1: each column from another real row; 2: Jacobian-
/// like augmentation, random steps of a quarter deviation from earlier queries, begun with 50 real rows; 3: real rows.
Trace extraction_trace(const Case& c, int kind, int budget, Random& random) {
  const Client client(c, 0, 1);
  std::vector<float> out(c.model.outputs());
  const std::size_t d = c.model.inputs();
  for (int i = 0; i < budget; ++i) {
    std::vector<float> row = c.calibration[random.below(c.calibration.size())].row;
    if (kind == 2 && i >= 50) row = client.trace[random.below(client.trace.size())].row;
    for (std::size_t k = 0; k < d; ++k) {
      const FeatureRule& r = c.rules[k];
      if (kind == 0) row[k] = static_cast<float>(random.uniform(r.lower, r.upper));
      if (kind == 1) row[k] = c.calibration[random.below(c.calibration.size())].row[k];
      if (kind == 2 && i >= 50) row[k] += static_cast<float>((random.below(2) ? 0.25 : -0.25) * r.unit);
      if (kind != 3) row[k] = std::clamp(r.whole ? std::round(row[k]) : row[k], r.lower, r.upper);
    }
    client.predict(row, out, {});
  }
  return client.trace;
}

/// HopSkipJump on four victims in turn, over twenty accounts at random, with noise on every query.
Trace adaptive_trace(const Case& c, const std::vector<Query>& victims, int budget, double noise, Random& random) {
  std::vector<Trace> parts;
  for (const Query& victim : victims)
    parts.push_back(attack_trace(c, AttackMethod::hop_skip_jump, victim, budget, 1e-3, noise, random.next64()));
  Trace trace;
  for (std::size_t i = 0; static_cast<int>(i) < budget; ++i)
    for (Trace& p : parts)
      if (i < p.size()) {
        p[i].account = random.below(20);
        trace.push_back(p[i]);
      }
  return trace;
}

struct Watch {
  virtual ~Watch() = default;
  virtual bool observe(std::uint64_t caller, const Query& query) = 0;
  std::string name;
};

struct Ours final : Watch {
  explicit Ours(const Case& c, bool text_case) : monitor(make(c)), text(text_case) { name = "ours"; }
  static std::unique_ptr<QueryMonitor> make(const Case& c) {
    if (!c.text) return std::make_unique<QueryMonitor>(MatrixView<const float>(c.reference_rows));
    return std::make_unique<QueryMonitor>(c.reference);
  }
  bool observe(std::uint64_t caller, const Query& query) override {
    if (!text) return monitor->observe(caller, std::span<const float>(query.row)).suspicious;
    Column column{{"c2", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
    column.texts.push_back(query.text);
    const Dataset asked({column});
    return monitor->observe(caller, asked.row(0)).suspicious;
  }
  std::unique_ptr<QueryMonitor> monitor;
  bool text;
};

/// With the fewest matches that give no more than one alarm in 10,000 queries of the calibration traffic.
struct WatchBlacklight final : Watch {
  WatchBlacklight(const Case& c, std::size_t window, double step) : monitor(c.reference_rows, options(window, step)) {
    name = "blacklight_w" + std::to_string(window) + "_s" + std::to_string(static_cast<int>(step * 255));
    std::vector<std::size_t> matches;
    for (const Query& q : c.calibration) matches.push_back(monitor.observe(q.row).matches);
    std::sort(matches.begin(), matches.end());
    limit = std::max<std::size_t>(1, matches[matches.size() - 1 - matches.size() / 10000] + 1);
    monitor = Blacklight(c.reference_rows, options(window, step));
    for (const Query& q : c.calibration) monitor.observe(q.row);
  }
  static BlacklightOptions options(std::size_t window, double step) {
    return {.step = step, .window = window, .keep = 50, .matches = 1, .queries = 20000, .key = 5};
  }
  bool observe(std::uint64_t, const Query& query) override { return monitor.observe(query.row).matches >= limit; }
  Blacklight monitor;
  std::size_t limit = 0;
};

/// With the largest W that gives no more than one alarm in 10,000 queries of the calibration traffic.
struct WatchPrada final : Watch {
  explicit WatchPrada(const Case& c) : monitor(c.reference_rows, options()) {
    name = "prada";
    Prada before(c.reference_rows, options());
    Random random(4);
    std::vector<double> w;
    for (const Query& q : c.calibration) w.push_back(before.observe(random.below(20), q.row, q.label).w);
    std::sort(w.begin(), w.end());
    limit = w[w.size() / 10000];
  }
  static PradaOptions options() { return {.most_rows = 500, .callers = 4096}; }
  bool observe(std::uint64_t caller, const Query& query) override {
    return monitor.observe(caller, query.row, query.label).w < limit;
  }
  Prada monitor;
  double limit = 0;
};

std::vector<std::unique_ptr<Watch>> monitors(const Case& c) {
  std::vector<std::unique_ptr<Watch>> all;
  all.push_back(std::make_unique<Ours>(c, c.text));
  for (const std::size_t window : {1u, 2u, 4u, 8u, 20u})
    for (const double step : {50.0 / 255, 5.0 / 255, 2.0 / 255})
      if (window <= c.reference_rows.cols() && (c.reference_rows.cols() < 50 || window >= 4))
        all.push_back(std::make_unique<WatchBlacklight>(c, window, step));
  all.push_back(std::make_unique<WatchPrada>(c));
  return all;
}

int detect(const Settings& settings) {
  const Case c = make_case(settings.text("set"), settings.text("data"), settings.number("train", 60));
  const int attacks = settings.number("attacks", 15), budget = 400;
  Random random(11);
  const auto victim = [&] { return c.test[random.below(c.test.size())]; };
  std::vector<std::pair<std::string, std::vector<Trace>>> kinds;
  const auto add = [&](const std::string& name, auto&& make) {
    std::vector<Trace> traces;
    for (int i = 0; i < attacks; ++i) traces.push_back(make(i));
    kinds.emplace_back(name, std::move(traces));
  };
  if (c.text) {
    add("boundary", [&](int) { return words_trace(c, victim(), 60, random); });
  } else {
    add("hsj", [&](int i) {
      return attack_trace(c, AttackMethod::hop_skip_jump, victim(), budget, 1e-3, 0, static_cast<std::uint64_t>(i));
    });
    add("square", [&](int i) {
      return attack_trace(c, AttackMethod::square, victim(), budget, 0.25, 0, static_cast<std::uint64_t>(i));
    });
    add("boundary", [&](int) { return boundary_trace(c, victim(), 200, random); });
    for (const auto& [name, kind] :
         {std::pair{"extraction:uniform", 0}, {"extraction:columns", 1}, {"extraction:augment", 2}, {"natural", 3}})
      add(name, [&, kind = kind](int) { return extraction_trace(c, kind, budget, random); });
    for (const auto& [name, noise] : {std::pair{"adaptive:0", 0.0}, {"adaptive:0.1", 0.1}, {"adaptive:0.3", 0.3}})
      add(name, [&, noise = noise](int) {
        const std::vector<Query> victims{victim(), victim(), victim(), victim()};
        return adaptive_trace(c, victims, budget / 2, noise, random);
      });
  }
  for (const bool single : {false, true})
    for (auto& monitor : monitors(c)) {
      Random callers(3);
      std::size_t alarms = 0;
      for (const Query& q : c.test) alarms += monitor->observe(single ? 1 : callers.below(20), q);
      std::printf("%s %s %s %zu %zu\n", single ? "single" : "benign", c.name.c_str(), monitor->name.c_str(), alarms,
                  c.test.size());
    }
  for (auto& [kind, traces] : kinds) {
    for (auto& monitor : monitors(c)) {
      std::printf("runs %s %s %s", c.name.c_str(), kind.c_str(), monitor->name.c_str());
      Random callers(3);
      std::size_t at = 0;
      for (std::size_t i = 0; i < traces.size(); ++i) {
        int first = 0, asked = 0;
        for (const Query& q : traces[i]) {
          for (int k = 0; k < 4; ++k) monitor->observe(callers.below(20), c.test[at++ % c.test.size()]);
          ++asked;
          if (monitor->observe(1000 + 100 * i + q.account, q) && first == 0) {
            first = asked;
            break;  // what comes later changes nothing of the figures
          }
        }
        std::printf(" %d", first ? first : -asked);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
  return 0;
}

int cost(const Settings&) {
  for (const std::size_t cols : {100u, 784u}) {
    Random random(1);
    Tensor<float> rows({8000, cols});
    for (float& v : rows.flat()) v = static_cast<float>(random.normal());
    QueryMonitor monitor{MatrixView<const float>(rows)};
    std::vector<double> seconds;
    constexpr int at_once = 8;
    for (std::size_t i = 0; i < 200'000; i += at_once) {
      const double start = bench::now();
      for (std::size_t k = 0; k < at_once; ++k) monitor.observe((i + k) * 7919 % 5000, rows.row((i + k) % 8000));
      seconds.push_back((bench::now() - start) / at_once);
    }
    std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
    std::printf("p50 %zu %.1f\n", cols, seconds[seconds.size() / 2] * 1e9);
    InputGuard guard(Dataset::from_matrix(rows));
    std::vector<float> safe(cols);
    const double start = bench::now();
    for (std::size_t i = 0; i < 50'000; ++i) guard.check(rows.row(i % 8000), safe);
    std::printf("guard %zu %.1f\n", cols, (bench::now() - start) / 50'000 * 1e9);
  }
  Random random(2);
  Tensor<float> rows({8000, 30});
  for (float& v : rows.flat()) v = static_cast<float>(random.normal());
  QueryMonitor monitor{MatrixView<const float>(rows), {.callers = 1 << 20}};
  const double start = bench::now();
  for (std::uint64_t i = 0; i < 2'000'000; ++i) monitor.observe(i % 1'000'000, rows.row(i * 31 % 8000));
  std::printf("callers %zu %.1f\n", monitor.memory_bytes(), (bench::now() - start) / 2e6 * 1e9);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const Settings settings(argc, argv);
  try {
    if (mode == "detect") return detect(settings);
    if (mode == "cost") return cost(settings);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: peer_robustness_monitor_worker detect|cost KEY=VALUE...\n");
  return 2;
}
