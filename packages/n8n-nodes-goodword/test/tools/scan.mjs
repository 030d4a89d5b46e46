// The gate of @n8n/scan-community-package without the registry: once over the sources, once
// over what `npm pack` would publish.   node scan.mjs PACKAGE
import { analyzePackage, SOURCE_FILE_PATTERNS } from '@n8n/scan-community-package/scanner/scanner.mjs';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const source = path.resolve(process.argv[2]);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'scan-'));
execFileSync('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], { cwd: source, stdio: 'ignore' });
const tarball = fs.readdirSync(folder).find((name) => name.endsWith('.tgz'));
const packed = path.join(folder, 'package');
execFileSync('tar', ['-xzf', tarball], { cwd: folder });

let failed = 0;
for (const [what, where, patterns] of [
	['sources', source, SOURCE_FILE_PATTERNS],
	['package', packed, ['**/*.js', 'package.json']],
]) {
	const result = await analyzePackage(where, patterns);
	console.log(`${result.passed ? 'ok     ' : 'FAILED '} scan of the ${what}`);
	if (!result.passed) {
		failed += 1;
		console.log(result.message ?? '', result.details ?? '');
	}
}
fs.rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
