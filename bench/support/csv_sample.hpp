#pragma once
// A delimited text of numbers, categories, times and quoted texts, the same for the same size.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "redoubt/core/random.hpp"

namespace redoubt::bench {

/// About `bytes` of CSV: ids, whole numbers, prices, full-precision doubles, missing cells, a date and time, two
/// categories, an account of 5000 and a review of which a third is quoted (commas, doubled quotes, line ends).
inline std::string csv_sample(std::size_t bytes) {
  static const char* const words[] = {"the",    "delivery", "was", "late",  "but",  "seller",  "answered", "kindly",
                                      "bought", "again",    "for", "price", "good", "quality", "would",    "not"};
  static const char* const states[] = {"new", "used", "refurbished", "broken"};
  static const char* const countries[] = {"DE", "FR", "IT", "PL", "SE", "US", "BR", "JP", "KR", "IN"};
  Random random(7);
  std::string text = "id,amount,price,score,ratio,clicks,when,state,country,account,review,genuine\n";
  text.reserve(bytes + 1024);
  char cell[256];
  for (unsigned id = 1; text.size() < bytes; ++id) {
    const double price = static_cast<double>(random.below(100000)) / 100;
    std::snprintf(cell, sizeof cell, "%u,%d,%.2f,%.17g,", id, static_cast<int>(random.below(2000)) - 1000, price,
                  random.normal());
    text += cell;
    if (random.below(20) == 0) {
      text += ",";
    } else {
      std::snprintf(cell, sizeof cell, "%.6f,", random.uniform());
      text += cell;
    }
    std::snprintf(cell, sizeof cell, "%u,2026-%02u-%02uT%02u:%02u:%02uZ,%s,%s,user%04u,",
                  static_cast<unsigned>(random.below(1000000)), 1 + static_cast<unsigned>(random.below(12)),
                  1 + static_cast<unsigned>(random.below(28)), static_cast<unsigned>(random.below(24)),
                  static_cast<unsigned>(random.below(60)), static_cast<unsigned>(random.below(60)),
                  states[random.below(4)], countries[random.below(10)], static_cast<unsigned>(random.below(5000)));
    text += cell;
    const bool quoted = random.below(3) == 0;
    if (quoted) text += '"';
    const auto count = 6 + random.below(12);
    for (std::uint64_t w = 0; w < count; ++w) {
      if (w > 0) text += quoted && random.below(6) == 0 ? ", " : " ";
      if (quoted && random.below(30) == 0) text += "\"\"so called\"\" ";
      if (quoted && random.below(60) == 0) text += '\n';
      text += words[random.below(16)];
    }
    if (quoted) text += '"';
    text += random.below(4) == 0 ? ",fake\n" : ",real\n";
  }
  return text;
}

/// Writes about `bytes` of it to `path`.
inline void write_csv_sample(const std::string& path, std::size_t bytes) {
  std::ofstream(path, std::ios::binary) << csv_sample(bytes);
}

/// The same into a new temporary file; returns its path.
inline std::string write_csv_sample(std::size_t bytes) {
  const std::string name = "redoubt-sample-" + std::to_string(::getpid()) + ".csv";
  const std::string path = (std::filesystem::temp_directory_path() / name).string();
  write_csv_sample(path, bytes);
  return path;
}

}  // namespace redoubt::bench
