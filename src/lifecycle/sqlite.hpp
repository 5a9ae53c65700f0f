#pragma once
// Thin RAII over SQLite: errors become Error, statements are finalised, transactions roll back unless committed.
#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace redoubt::detail {

class Database {
 public:
  Database() = default;
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  void open(const std::string& path, int busy_timeout_ms);
  void run(const char* sql);  ///< statements without parameters or results
  std::int64_t last_id() const noexcept { return sqlite3_last_insert_rowid(handle_); }
  sqlite3* handle() const noexcept { return handle_; }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  sqlite3* handle_ = nullptr;
  std::string path_;
};

/// One prepared statement. Parameters are bound in the order of the calls; columns are read by index.
class Statement {
 public:
  Statement(Database& database, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value);
  Statement& bind(double value);
  Statement& bind(std::string_view value);
  Statement& bind_null();
  void rewind();  ///< to bind and run again
  bool step();    ///< true while there is a row
  void run();     ///< for statements without rows

  std::int64_t integer(int column) const noexcept { return sqlite3_column_int64(statement_, column); }
  double number(int column) const noexcept { return sqlite3_column_double(statement_, column); }
  std::string text(int column) const;
  bool is_null(int column) const noexcept { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  Database* database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
};

/// BEGIN IMMEDIATE ... COMMIT. `durable` makes the commit survive a power cut as well as a dying process.
class Transaction {
 public:
  explicit Transaction(Database& database, bool durable = false);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database* database_;
  bool durable_, open_ = true;
};

}  // namespace redoubt::detail
