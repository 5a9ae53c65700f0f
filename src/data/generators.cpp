#include "redoubt/data/generators.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <string_view>
#include <unordered_map>

#include "data/atomic_file.hpp"
#include "data/marketplace_text.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/text.hpp"

namespace redoubt {

namespace {

constexpr double missing = std::numeric_limits<double>::quiet_NaN();
constexpr std::int64_t log_start = 1'735'689'600;  // 2025-01-01T00:00:00Z
constexpr double day_seconds = 86400;

// One stream per population, so that the size of one does not change the others' random numbers.
enum Stream : std::uint64_t {
  products_stream = 1,
  honest,
  fakes,
  five_star,
  one_star,
  returning,
  labels,
  names,
  broken
};

struct Product {
  std::size_t category;
  double price;
  double quality;
};

struct Account {
  double age;  ///< days at the start of the log; negative: not yet registered
  bool odd = false;
  PoisonKind campaign = PoisonKind::none;
};

struct Review {
  double day;
  std::uint32_t account, product;
  int stars;
  bool verified;
  int device;  ///< -1 missing, else into `devices`
  std::uint64_t votes;
  std::string text;
  bool genuine;
  PoisonKind poison = PoisonKind::none;
};

constexpr std::array<std::string_view, 3> devices{"app", "desktop", "mobile web"};
constexpr std::size_t product_count = 400;

double exponential(double mean, Random& random) { return -mean * std::log(1.0 - random.uniform()); }
bool chance(double probability, Random& random) { return random.uniform() < probability; }
std::uint64_t geometric(double mean, Random& random) {
  return static_cast<std::uint64_t>(exponential(1 / std::log1p(1 / mean), random));
}

class MarketBuilder {
 public:
  explicit MarketBuilder(const MarketplaceOptions& options)
      : options_(options), days_(static_cast<double>(options.days)) {
    constexpr std::array<double, detail::market_categories> price{18, 14, 45, 160, 40, 55, 50, 28};
    Random random(options.seed, products_stream);
    for (std::size_t i = 0; i < product_count; ++i) {
      const std::size_t category = i % detail::market_categories;
      const double amount = price[category] * std::exp(0.6 * random.normal());
      products_.push_back({category, std::round(amount * 100) / 100, random.normal()});
    }
  }

  void add_honest(std::size_t count) {
    Random random(options_.seed, honest);
    for (const std::size_t end = reviews_.size() + count; reviews_.size() < end;) {
      const bool odd = chance(0.015, random), newcomer = chance(0.14, random);
      double day = random.uniform(0, days_);
      const double age = newcomer ? random.uniform(0, 30) : std::exp(6.0 + 0.9 * random.normal());
      const std::uint32_t account = add_account(age - day, odd);
      const std::uint64_t reviews = odd ? 6 + random.below(8) : 1 + geometric(2.0, random);
      for (std::uint64_t r = 0; r < reviews && day < days_ && reviews_.size() < end; ++r) {
        add_honest_review(account, any_product(random), day, odd, random);
        day += odd ? exponential(0.15, random) : exponential(7, random);
      }
    }
  }

  void add_fakes(std::size_t count) {
    Random random(options_.seed, fakes);
    for (const std::size_t end = reviews_.size() + count; reviews_.size() < end;) {
      if (chance(0.12, random))
        add_ring(end, random);
      else
        add_lone_fake(end, random);
    }
  }

  /// A campaign: every account reviews each of a few products within days. Missed by moderation: poison.
  void add_campaign(PoisonKind kind, std::size_t rows, std::size_t accounts) {
    const bool praise = kind == PoisonKind::bought_five_star;
    Random random(options_.seed, praise ? five_star : one_star);
    const double start = days_ * (praise ? 0.30 : 0.42);
    const std::size_t begin = reviews_.size();
    add_group({praise, start, praise ? 3.0 : 2.0, rows, accounts, praise ? 5u : 4u, options_.camouflage, kind}, random);
    for (std::size_t i = begin; i < reviews_.size(); ++i) reviews_[i].poison = kind;
  }

  /// The same people again, with other accounts and products; caught.
  void add_returning(std::size_t rows) {
    Random random(options_.seed, returning);
    constexpr std::size_t group_rows = 18;
    for (std::size_t done = 0; done < rows; done += group_rows) {
      const double start = random.uniform(0.82 * days_, 0.97 * days_);
      const std::size_t now = std::min(group_rows, rows - done);
      const bool praise = done / group_rows % 3 != 2;
      add_group({praise, start, 0.03 * days_, now, std::max<std::size_t>(1, now / 3), 3, 0.0, PoisonKind::none},
                random);
    }
  }

  void mislabel(std::size_t count) {
    std::vector<std::uint64_t> candidates;
    for (std::size_t i = 0; i < reviews_.size(); ++i)
      if (reviews_[i].poison == PoisonKind::none) candidates.push_back(i);
    Random(options_.seed, labels).shuffle(std::span<std::uint64_t>(candidates));
    for (std::size_t i = 0; i < std::min(count, candidates.size()); ++i)
      reviews_[candidates[i]].poison = PoisonKind::mislabelled;
  }

  Marketplace finish();

 private:
  struct Group {
    bool praise;
    double start, length;  ///< days
    std::size_t rows, accounts, products;
    double camouflage;
    PoisonKind campaign;
  };

  void add_group(const Group& group, Random& random) {
    std::vector<std::uint32_t> targets, members;
    const auto first = static_cast<std::uint32_t>(random.below(product_count));
    for (std::size_t p = 0; p < group.products; ++p)  // one category: the seller's
      targets.push_back(static_cast<std::uint32_t>((first + p * detail::market_categories) % product_count));
    for (std::size_t a = 0; a < group.accounts; ++a) {
      const double age = chance(0.15, random) ? random.uniform(100, 900) : random.uniform(1, 20);
      members.push_back(add_account(age - group.start, false, group.campaign));
    }
    for (std::size_t i = 0; i < group.rows; ++i) {
      const std::uint32_t account = members[i % group.accounts];
      if (chance(group.camouflage, random)) {
        const double day = group.start + random.uniform(0, 20);
        add_honest_review(account, any_product(random), std::min(day, days_ - 0.01), false, random);
        reviews_.back().genuine = false;
        continue;
      }
      const std::uint32_t product = targets[(i / group.accounts + i) % targets.size()];
      const std::size_t category = products_[product].category, which = random.below(3);
      const double day = group.start + random.uniform(0, group.length);
      const bool verified = chance(group.praise ? 0.35 : 0.08, random);
      const int from = device(0.3, random);
      const std::uint64_t votes = geometric(0.8, random);
      add_review({day, account, product, group.praise ? 5 : 1, verified, from, votes,
                  group.praise ? detail::five_star_text(which, category, random)
                               : detail::one_star_text(which, category, random),
                  false});
    }
  }

  std::uint32_t add_account(double age, bool odd, PoisonKind campaign = PoisonKind::none) {
    accounts_.push_back({age, odd, campaign});
    return static_cast<std::uint32_t>(accounts_.size() - 1);
  }

  void add_review(Review review) { reviews_.push_back(std::move(review)); }

  /// A few products get most reviews.
  std::uint32_t any_product(Random& random) {
    const double u = random.uniform();
    return static_cast<std::uint32_t>(u * u * product_count);
  }

  int device(double app, Random& random) {
    if (chance(0.03, random)) return -1;
    const double u = random.uniform();
    return u < app ? 0 : u < 0.83 ? 1 : 2;
  }

  void add_honest_review(std::uint32_t account, std::uint32_t product, double day, bool odd, Random& random) {
    using detail::Voice;
    const Product& what = products_[product];
    const double content = 0.9 + 0.6 * what.quality + 1.1 * random.normal() + (odd ? 1.5 : 0.0);
    const int stars = content > 0.75 ? 5 : content > 0 ? 4 : content > -0.5 ? 3 : content > -0.9 ? 2 : 1;
    const std::uint64_t sentences = odd || chance(0.1, random) ? 1 : 2 + random.below(3);
    std::string text;
    for (std::uint64_t s = 0; s < sentences; ++s) {
      const double u = random.uniform(), loud = odd ? 0.5 : 0.12;
      Voice voice = Voice::honest_mixed;
      if (stars >= 4) voice = u < loud ? Voice::shill : u < 0.8 ? Voice::honest_good : Voice::honest_mixed;
      if (stars == 3) voice = u < 0.7 ? Voice::honest_mixed : u < 0.85 ? Voice::honest_good : Voice::honest_bad;
      if (stars <= 2) voice = u < loud ? Voice::smear : u < 0.8 ? Voice::honest_bad : Voice::honest_mixed;
      append(text, detail::market_sentence(voice, what.category, random));
    }
    const double votes = 0.3 + 0.25 * static_cast<double>(sentences);
    const bool verified = chance(0.82, random);
    const int from = device(0.5, random);
    add_review({day, account, product, stars, verified, from, geometric(votes, random), std::move(text), true});
  }

  double fake_age(Random& random) {
    return chance(0.55, random) ? std::exp(3.2 + 1.0 * random.normal()) : std::exp(5.6 + 0.8 * random.normal());
  }

  void add_fake_review(std::uint32_t account, std::uint32_t product, double day, bool praise,
                       const std::vector<std::size_t>& templates, Random& random) {
    using detail::Voice;
    const std::size_t category = products_[product].category;
    const Voice lie = praise ? Voice::shill : Voice::smear, act = praise ? Voice::honest_good : Voice::honest_bad;
    std::string text;
    for (std::uint64_t s = 1 + random.below(3); s > 0; --s) {
      if (chance(0.5, random))
        append(text, detail::market_sentence(act, category, random));
      else if (templates.empty())
        append(text, detail::market_sentence(lie, category, random));
      else
        append(text, detail::market_sentence(lie, category, templates[random.below(templates.size())], random));
    }
    const int extreme = praise ? 5 : 1, near = praise ? 4 : 2;
    const int stars = chance(0.75, random) ? extreme : near;
    const bool verified = chance(0.55, random);
    const int from = device(0.35, random);
    add_review({day, account, product, stars, verified, from, geometric(0.7, random), std::move(text), false});
  }

  void add_lone_fake(std::size_t end, Random& random) {
    double day = random.uniform(0, days_);
    const std::uint32_t account = add_account(fake_age(random) - day, false);
    const bool praise = chance(0.7, random);
    for (std::uint64_t r = 1 + geometric(1.0, random); r > 0 && day < days_ && reviews_.size() < end; --r) {
      add_fake_review(account, any_product(random), day, praise, {}, random);
      day += exponential(4, random);
    }
  }

  void add_ring(std::size_t end, Random& random) {
    const double start = random.uniform(0, days_ - 3);
    const bool praise = chance(0.7, random);
    std::vector<std::uint32_t> targets(1 + random.below(3));
    for (auto& product : targets) product = any_product(random);
    std::vector<std::size_t> templates(3);
    for (auto& t : templates) t = detail::market_template(praise ? detail::Voice::shill : detail::Voice::smear, random);
    for (std::uint64_t members = 5 + random.below(8); members > 0; --members) {
      const std::uint32_t account = add_account(fake_age(random) - start, false);
      for (const std::uint32_t product : targets) {
        if (reviews_.size() == end) return;
        add_fake_review(account, product, start + random.uniform(0, 3), praise, templates, random);
      }
    }
  }

  static void append(std::string& text, const std::string& sentence) {
    if (!text.empty()) text += ' ';
    text += sentence;
  }

  MarketplaceOptions options_;
  double days_;
  std::vector<Product> products_;
  std::vector<Account> accounts_;
  std::vector<Review> reviews_;
};

/// Categories sorted by name, "" = missing, as a reader would make them.
Column categorical(const char* name, ColumnRole role, const std::vector<std::string>& values) {
  Column column;
  column.spec = {name, ColumnType::categorical, role, values};
  auto& categories = column.spec.categories;
  std::erase(categories, "");
  std::sort(categories.begin(), categories.end());
  categories.erase(std::unique(categories.begin(), categories.end()), categories.end());
  for (const std::string& value : values)
    column.codes.push_back(
        value.empty() ? -1
                      : static_cast<std::int32_t>(std::lower_bound(categories.begin(), categories.end(), value) -
                                                  categories.begin()));
  return column;
}

Column numeric(const char* name, std::vector<double> values) {
  Column column;
  column.spec.name = name;
  column.numbers = std::move(values);
  return column;
}

/// Lines that a reader must refuse, each for its own reason. Of a small log only those that are wrong by shape: one bad
/// number among few would make its column another type.
std::vector<std::string> broken_lines(std::size_t count, bool small) {
  const std::array<std::string_view, 5> lines{
      "Good kettle until it was not,4,21.5,kitchen",                                                         // cut off
      "\"Nice \"quoted\" tent\",5,80,sports,yes,app,300,2,1.5,3,0,p006,user00001,2025-02-01T10:00:00Z,yes",  // bare
                                                                                                             // quote
      "Fine,3,9.99,books,yes,app,300,1,,1,0,p001,user00002,2025-02-02T10:00:00Z,yes,left,over",              // too long
      "Great lamp,five,33,garden,no,desktop,12,1,,2,0,p004,user00003,2025-02-03T10:00:00Z,no",               // stars
      "Too loud,2,55,kitchen,yes,app,700,4,9.25,2,1,p005,user00004,the day before yesterday,yes"};           // time
  std::vector<std::string> result;
  for (std::size_t i = 0; i < count; ++i) result.emplace_back(lines[i % (small ? 3 : lines.size())]);
  return result;
}

Marketplace MarketBuilder::finish() {
  std::vector<std::uint64_t> order(reviews_.size()), ids(accounts_.size());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  // Whole seconds, as they are stored, so that equal times keep the order of the reviews.
  const auto second = [&](const Review& r) { return log_start + static_cast<std::int64_t>(r.day * day_seconds); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint64_t a, std::uint64_t b) { return second(reviews_[a]) < second(reviews_[b]); });
  // Names say nothing about the kind of account.
  std::iota(ids.begin(), ids.end(), std::uint64_t{0});
  Random(options_.seed, names).shuffle(std::span<std::uint64_t>(ids));
  const auto account_name = [&](std::size_t account) { return fmt::format("user{:05}", ids[account]); };

  // Row ids count lines, and the broken lines take some of them.
  Marketplace market;
  Random random(options_.seed, broken);
  const std::size_t lines = reviews_.size() + options_.broken_lines;
  std::vector<std::uint64_t> positions(lines);
  std::iota(positions.begin(), positions.end(), std::uint64_t{0});
  random.shuffle(std::span<std::uint64_t>(positions));
  positions.resize(options_.broken_lines);
  std::sort(positions.begin(), positions.end());
  const auto texts = broken_lines(options_.broken_lines, reviews_.size() < 1000);
  for (std::size_t i = 0; i < positions.size(); ++i) market.broken.emplace_back(positions[i], texts[i]);
  std::vector<RowId> row_ids;
  for (RowId id = 0, next = 0; id < lines; ++id) {
    if (next < positions.size() && positions[next] == id)
      ++next;
    else
      row_ids.push_back(id);
  }

  Column review, time;
  review.spec = {"review", ColumnType::text, ColumnRole::feature, {}};
  time.spec = {"time", ColumnType::timestamp, ColumnRole::time, {}};
  std::vector<double> stars, price, age, written, since, words, votes;
  std::vector<std::string> category, verified, device, product, account, genuine;
  std::vector<double> last_day(accounts_.size(), missing), so_far(accounts_.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const Review& r = reviews_[order[i]];
    const Product& what = products_[r.product];
    review.texts.push_back(r.text);
    stars.push_back(r.stars);
    price.push_back(chance(0.02, random) ? missing : what.price);
    category.emplace_back(detail::market_category(what.category));
    verified.emplace_back(r.verified ? "yes" : "no");
    device.emplace_back(r.device < 0 ? "" : devices[static_cast<std::size_t>(r.device)]);
    age.push_back(std::floor(std::max(0.0, accounts_[r.account].age + r.day)));
    written.push_back(++so_far[r.account]);
    since.push_back(std::round((r.day - last_day[r.account]) * 100) / 100);
    last_day[r.account] = r.day;
    words.push_back(static_cast<double>(tokenise(r.text).size()));
    votes.push_back(static_cast<double>(r.votes));
    product.push_back(fmt::format("p{:03}", r.product));
    account.push_back(account_name(r.account));
    time.times.push_back(second(r) * 1'000'000);
    genuine.emplace_back(r.genuine == (r.poison == PoisonKind::none) ? "yes" : "no");
    market.truth.push_back({row_ids[i], r.poison, r.genuine});
  }
  market.data = Dataset(
      {review, numeric("stars", stars), numeric("price", price), categorical("category", ColumnRole::feature, category),
       categorical("verified", ColumnRole::feature, verified), categorical("device", ColumnRole::feature, device),
       numeric("account_age_days", age), numeric("account_reviews", written), numeric("days_since_previous", since),
       numeric("review_words", words), numeric("helpful_votes", votes),
       categorical("product", ColumnRole::ignore, product), categorical("account", ColumnRole::source, account), time,
       categorical("genuine", ColumnRole::target, genuine)},
      std::move(row_ids));
  for (std::size_t a = 0; a < accounts_.size(); ++a) {
    if (so_far[a] == 0) continue;
    if (accounts_[a].campaign == PoisonKind::bought_five_star) market.five_star_accounts.push_back(account_name(a));
    if (accounts_[a].campaign == PoisonKind::one_star_brigade) market.one_star_accounts.push_back(account_name(a));
    if (accounts_[a].odd) market.odd_accounts.push_back(account_name(a));
  }
  for (auto* list : {&market.five_star_accounts, &market.one_star_accounts, &market.odd_accounts})
    std::sort(list->begin(), list->end());
  return market;
}

bool is_share(double value) { return value >= 0 && value <= 1; }

}  // namespace

const char* to_string(PoisonKind kind) noexcept {
  switch (kind) {
    case PoisonKind::none: return "none";
    case PoisonKind::bought_five_star: return "bought_five_star";
    case PoisonKind::one_star_brigade: return "one_star_brigade";
    case PoisonKind::mislabelled: return "mislabelled";
  }
  return "unknown";
}

const MarketplaceTruth& Marketplace::truth_of(RowId row) const {
  const auto at = std::lower_bound(truth.begin(), truth.end(), row,
                                   [](const MarketplaceTruth& t, RowId wanted) { return t.row < wanted; });
  if (at == truth.end() || at->row != row)
    detail::fail(errc::not_found, fmt::format("the marketplace has no row with id {}", row));
  return *at;
}

std::vector<RowId> Marketplace::poisoned() const {
  std::vector<RowId> ids;
  for (const MarketplaceTruth& t : truth)
    if (t.poison != PoisonKind::none) ids.push_back(t.row);
  return ids;
}

Dataset Marketplace::with_true_labels(const Dataset& rows) const {
  Column target = rows.column("genuine");
  const auto code = [&](std::string_view name) {
    const auto& names = target.spec.categories;
    const auto at = std::find(names.begin(), names.end(), name);
    if (at == names.end()) detail::fail(errc::not_found, fmt::format("the column genuine has no category '{}'", name));
    return static_cast<std::int32_t>(at - names.begin());
  };
  const std::int32_t yes = code("yes"), no = code("no");
  for (std::size_t i = 0; i < rows.rows(); ++i) target.codes[i] = truth_of(rows.row_ids()[i]).genuine ? yes : no;
  return rows.with_column(std::move(target));
}

Marketplace generate_marketplace(const MarketplaceOptions& options) {
  const auto refuse = [](const std::string& what) {
    detail::fail(errc::invalid_argument, fmt::format("marketplace: {}", what));
  };
  if (!is_share(options.fake_rate) || !is_share(options.camouflage) || !is_share(options.mislabel_rate))
    refuse("fake_rate, camouflage and mislabel_rate are shares in [0, 1]");
  if (options.days < 10 || options.days > 3650) refuse(fmt::format("days = {} is not in 10..3650", options.days));
  if (options.rows > 10'000'000) refuse(fmt::format("rows = {} is more than 10000000", options.rows));
  if (options.broken_lines > options.rows / 10) refuse("more than a tenth of the lines would be broken");
  for (const auto& [rows, accounts] : {std::pair(options.five_star_rows, options.five_star_accounts),
                                       std::pair(options.one_star_rows, options.one_star_accounts)})
    if (rows > 0 && (accounts == 0 || accounts > rows))
      refuse(fmt::format("a campaign of {} rows needs 1 to {} accounts, not {}", rows, rows, accounts));
  const auto fake_rows = static_cast<std::size_t>(std::llround(options.fake_rate * static_cast<double>(options.rows)));
  std::size_t planted = fake_rows;
  for (const std::size_t rows : {options.five_star_rows, options.one_star_rows, options.returning_rows})
    planted += std::min(rows, options.rows);
  if (options.rows < 100 || planted > options.rows / 2)
    refuse(
        fmt::format("{} + {} campaign rows, {} returning rows and {} ordinary fakes are more than half of {} rows, or "
                    "rows < 100",
                    options.five_star_rows, options.one_star_rows, options.returning_rows, fake_rows, options.rows));
  MarketBuilder builder(options);
  builder.add_honest(options.rows - planted);
  builder.add_fakes(fake_rows);
  builder.add_campaign(PoisonKind::bought_five_star, options.five_star_rows, options.five_star_accounts);
  builder.add_campaign(PoisonKind::one_star_brigade, options.one_star_rows, options.one_star_accounts);
  builder.add_returning(options.returning_rows);
  builder.mislabel(static_cast<std::size_t>(std::llround(options.mislabel_rate * static_cast<double>(options.rows))));
  return builder.finish();
}

CsvOptions marketplace_csv_options() {
  CsvOptions options;
  options.target = "genuine";
  options.source = "account";
  options.time = "time";
  options.ignore = {"product"};
  options.types = {{"product", ColumnType::categorical}};  // more values than are inferred as categories
  return options;
}

void write_marketplace_csv(const Marketplace& market, const std::string& path) {
  // No cell holds a line end, so every row is one line.
  const std::string table = write_csv_text(market.data);
  std::string text;
  std::size_t at = table.find('\n') + 1;
  text.append(table, 0, at);
  auto next = market.broken.begin();
  for (RowId line = 0; at < table.size() || next != market.broken.end(); ++line) {
    if (next != market.broken.end() && next->first == line) {
      text += next->second + "\n";
      ++next;
      continue;
    }
    const std::size_t end = table.find('\n', at) + 1;
    text.append(table, at, end - at);
    at = end;
  }
  detail::write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

Dataset generate_blobs(const BlobOptions& options) {
  if (options.classes < 1 || options.features < 1 || options.classes > 65536 || !(options.spread >= 0))
    detail::fail(errc::invalid_argument, "blobs: need at least one class and feature, and spread >= 0");
  Random random(options.seed);
  std::vector<double> centres(options.classes * options.features);
  for (double& c : centres) c = 3 * random.normal();
  Tensor<float> x({options.rows, options.features});
  std::vector<std::int32_t> labels(options.rows);
  for (std::size_t i = 0; i < options.rows; ++i) {
    const std::size_t c = i % options.classes;
    labels[i] = static_cast<std::int32_t>(c);
    for (std::size_t f = 0; f < options.features; ++f)
      x(i, f) = static_cast<float>(centres[c * options.features + f] + options.spread * random.normal());
  }
  return Dataset::from_matrix(x, labels);
}

Dataset generate_moons(std::size_t rows, double noise, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x({rows, 2});
  std::vector<std::int32_t> labels(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const double angle = random.uniform(0, std::numbers::pi);
    const bool lower = i % 2 == 1;
    labels[i] = lower;
    x(i, 0) = static_cast<float>((lower ? 1 - std::cos(angle) : std::cos(angle)) + noise * random.normal());
    x(i, 1) = static_cast<float>((lower ? 0.5 - std::sin(angle) : std::sin(angle)) + noise * random.normal());
  }
  return Dataset::from_matrix(x, labels);
}

Dataset generate_xor(std::size_t rows, double noise, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x({rows, 2});
  std::vector<std::int32_t> labels(rows);
  for (std::size_t i = 0; i < rows; ++i) {
    const double a = random.uniform(-1, 1), b = random.uniform(-1, 1);
    labels[i] = (a > 0) != (b > 0);
    x(i, 0) = static_cast<float>(a + noise * random.normal());
    x(i, 1) = static_cast<float>(b + noise * random.normal());
  }
  return Dataset::from_matrix(x, labels);
}

Dataset generate_tabular(std::size_t rows, std::uint64_t seed) {
  constexpr std::size_t low = 21, high = 7;
  std::vector<Column> columns(low + high + 1);
  for (std::size_t c = 0; c < low + high; ++c) {
    columns[c].spec.name = c < low ? fmt::format("low{}", c) : fmt::format("high{}", c - low);
    columns[c].numbers.resize(rows);
  }
  Column& target = columns.back();
  target.spec = {"target", ColumnType::categorical, ColumnRole::target, {"background", "signal"}};
  target.codes.resize(rows);
  Random random(seed);
  std::array<double, low> x{};
  for (std::size_t i = 0; i < rows; ++i) {
    const bool signal = chance(0.53, random);
    target.codes[i] = signal;
    // Seven triples; of a signal row the three members of a triple are slightly aligned, which only a product shows.
    for (std::size_t t = 0; t < high; ++t) {
      const double common = random.normal() * (signal ? 0.75 : 0.45);
      for (std::size_t k = 0; k < 3; ++k) x[t * 3 + k] = common + random.normal();
    }
    for (std::size_t c = 0; c < low; ++c) columns[c].numbers[i] = static_cast<float>(x[c]);
    for (std::size_t t = 0; t < high; ++t) {
      const double a = x[t * 3], b = x[t * 3 + 1], c = x[t * 3 + 2];
      columns[low + t].numbers[i] = static_cast<float>(std::abs(a + b + c) / std::sqrt(3.0) + 0.3 * random.normal());
    }
  }
  return Dataset(std::move(columns));
}

}  // namespace redoubt
