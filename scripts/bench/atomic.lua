-- The strategy `atomic` for sysbench: the SQL that `stockbench strategies show
-- atomic --dialect mysql` prints (parity.sh compares the two), prepared once
-- per connection.

sysbench.cmdline.options = {
   skus = {"SKUs to order from", 1},
}

local update_sql = [[
UPDATE stockbench_sku SET stock = stock - ?
WHERE id = ? AND stock >= ?
]]

local insert_sql = [[
INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id)
SELECT ?, id, 'sale', 'accepted', -?, stock, ?
FROM stockbench_sku WHERE id = ?
]]

-- A prepared statement and its binds, all BIGINT.
local function prepared(sql, count)
   local statement = con:prepare(sql)
   local binds = {}
   for i = 1, count do
      binds[i] = statement:bind_create(sysbench.sql.type.BIGINT)
   end
   statement:bind_param(unpack(binds))
   return statement, binds
end

function thread_init()
   con = sysbench.sql.driver():connect()
   update, update_binds = prepared(update_sql, 3)
   insert, insert_binds = prepared(insert_sql, 4)
   orders = 0
end

local function set(binds, ...)
   for i, value in ipairs({...}) do
      binds[i]:set(value)
   end
end

function event()
   local quantity, run_id = 1, 0
   local sku_id = sysbench.rand.uniform(1, sysbench.opt.skus)
   -- Ids ascend over all threads, as stockbench's do: they land on the same
   -- pages of the ledger's unique index.
   local order_id = orders * sysbench.opt.threads + sysbench.tid
   orders = orders + 1
   con:query("START TRANSACTION")
   set(update_binds, quantity, sku_id, quantity)
   update:execute()
   set(insert_binds, order_id, quantity, run_id, sku_id)
   insert:execute()
   con:query("COMMIT")
end

function thread_done()
   update:close()
   insert:close()
   con:disconnect()
end
