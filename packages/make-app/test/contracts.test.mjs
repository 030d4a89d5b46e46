// What is not checked for want of the contracts is said aloud: a test that was skipped looks like one that has passed.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));

for (const [file, notice] of [
  ['schemas.test.mjs', /NOT CHECKED: the app against Make's own schemas\. .*\/nowhere\/make\/syntaxes is missing/],
  ['blueprints.test.mjs', /NOT CHECKED: the bundles of stripe-payment, woocommerce-order, shopify-order against the vendors' own examples\. .*\/nowhere is missing/],
]) {
  test(`${file} without the contracts says what it has not checked`, () => {
    const { NODE_TEST_CONTEXT, ...env } = process.env;
    const only = ['--test-name-pattern', 'own schemas|own examples', path.join(HERE, file)];
    const run = spawnSync(process.execPath, only, { env: { ...env, GOODWORD_CONTRACTS: '/nowhere' }, encoding: 'utf8' });
    assert.equal(run.status, 0, run.stdout);
    assert.match(run.stderr, notice);
  });
}
