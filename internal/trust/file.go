package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

const (
	privateMode = 0o600
	publicMode  = 0o644
)

// maxFile bounds what is read of any file here. The machine's roots, the largest, take about 230 KiB.
const maxFile = 8 << 20

// writeFile replaces path by content, or creates it, so that a crash at any moment leaves the old content or the new. It
// returns when both the content and the name are on disk.
func writeFile(path string, content []byte, mode os.FileMode) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	// The folder has one owner, so one temporary name per file is enough and a crash leaves at most that one behind.
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, privateMode)
	if err != nil {
		return err
	}
	if err := fill(f, content, mode); err != nil {
		return errors.Join(err, f.Close(), os.Remove(temp))
	}
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

// fill gives f its content and, whatever the umask, its mode.
func fill(f *os.File, content []byte, mode os.FileMode) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}

// removeFile removes path for good: it returns when its name is gone from the disk. An absent file is no error.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes renames and removals in dir durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile returns the content of path, at most maxFile bytes. The error matches os.ErrNotExist if there is none.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxFile)
	}
	return content, nil
}

// readPrivate is readFile for a secret of ours: if others could read it, they no longer can, and the log says so.
func (t *Trust) readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		if err := os.Chmod(path, privateMode); err != nil {
			return nil, fmt.Errorf("others can read this secret (mode %04o): %w", mode, err)
		}
		t.log.Warn("a secret was open to other users of this machine, its mode is 0600 again; replace it if they are not trusted",
			"file", path, "mode", fmt.Sprintf("%04o", mode))
	}
	return readFile(path)
}

// parseCert returns the first certificate of a PEM file's content.
func parseCert(content []byte) (*x509.Certificate, error) {
	block, err := findBlock(content, func(kind string) bool { return kind == "CERTIFICATE" })
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(block.Bytes)
}

// parseKey returns the first private key of a PEM file's content: PKCS #8 as we write it, or the older EC and RSA forms.
func parseKey(content []byte) (crypto.Signer, error) {
	block, err := findBlock(content, func(kind string) bool {
		return kind == "PRIVATE KEY" || kind == "EC PRIVATE KEY" || kind == "RSA PRIVATE KEY"
	})
	if err != nil {
		return nil, err
	}
	var key any
	switch block.Type {
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T can not sign", key)
	}
	return signer, nil
}

// findBlock returns the first PEM block whose type is wanted.
func findBlock(content []byte, wanted func(kind string) bool) (*pem.Block, error) {
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no such PEM block in it")
		}
		if wanted(block.Type) {
			return block, nil
		}
	}
}

// matches reports whether key is the private half of cert's public key.
func matches(cert *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(cert.PublicKey)
}

func encodeCert(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, cert := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return b.Bytes()
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
