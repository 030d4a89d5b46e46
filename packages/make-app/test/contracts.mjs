// What vendors publish of their shapes. It is not ours to ship: it is read from a folder that may be missing.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const CONTRACTS = process.env.GOODWORD_CONTRACTS ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../shared/contracts');

/** Why a test is skipped, where what it needs is missing; false where it is there. */
export function unchecked(what, needed) {
  if (existsSync(needed)) return false;
  const notice = `NOT CHECKED: ${what}. ${needed} is missing; GOODWORD_CONTRACTS says where the contracts are.`;
  const line = '!'.repeat(120);
  console.error(`\n${line}\n!!  ${notice}\n${line}\n`);
  return notice;
}
