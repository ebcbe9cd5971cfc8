// Command journal-verify checks a published journal with Go's own transparency-log packages.
//
//	journal-verify VKEY DIR [INDEX]
//
// It prints "size N bad 0" and exits 0, or names what is wrong and exits 1. Several folders may be given as DIR,
// separated by commas: one verdict a line, in order, and exit 1 if one is bad.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// tiles reads C2SP tiles: Go's own paths carry the tile height as an element, C2SP's do not.
type tiles struct{ folder string }

func (t tiles) path(tile tlog.Tile) string {
	parts := strings.SplitN(tile.Path(), "/", 3) // tile, height, the rest
	return filepath.Join(t.folder, "tile", parts[2])
}

func (tiles) Height() int { return height }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		raw, err := os.ReadFile(t.path(tile))
		if err != nil {
			return nil, err
		}
		if len(raw) != tile.W*tlog.HashSize {
			return nil, fmt.Errorf("%s has a wrong length", t.path(tile))
		}
		data = append(data, raw)
	}
	return data, nil
}

func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// open gives the size and root that the key signed.
func open(vkey, folder string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	raw, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	if err != nil {
		return tree, err
	}
	signed, err := note.Open(raw, note.VerifierList(verifier))
	if err != nil {
		return tree, err
	}
	for _, signature := range signed.Sigs {
		value, err := base64.StdEncoding.Strict().DecodeString(signature.Base64)
		if err != nil || base64.StdEncoding.EncodeToString(value) != signature.Base64 {
			return tree, fmt.Errorf("signature is not canonical base64")
		}
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tree, fmt.Errorf("malformed checkpoint")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil || tree.N < 0 {
		return tree, fmt.Errorf("malformed size")
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tree, fmt.Errorf("malformed root")
	}
	copy(tree.Hash[:], root)
	return tree, nil
}

func check(vkey, folder string, chosen int64) error {
	tree, err := open(vkey, folder)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, tiles{folder})
	var count int64
	for n := int64(0); n*256 < tree.N; n++ {
		width := tree.N - n*256
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: height, L: 0, N: n, W: int(width)}
		path := strings.Replace(tiles{folder}.path(tile), "/tile/0/", "/tile/entries/", 1)
		bundle, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		indexes := make([]int64, width)
		for i := range indexes {
			indexes[i] = tlog.StoredHashIndex(0, n*256+int64(i))
		}
		leaves, err := hashes.ReadHashes(indexes)
		if err != nil {
			return err
		}
		for i := range leaves {
			if len(bundle) < 2 || len(bundle) < 2+int(binary.BigEndian.Uint16(bundle)) {
				return fmt.Errorf("BUNDLE CUT SHORT %d", count)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			computed := tlog.RecordHash(bundle[2:end])
			if !bytes.Equal(computed[:], leaves[i][:]) {
				return fmt.Errorf("ENTRY ALTERED %d", count)
			}
			bundle = bundle[end:]
			count++
		}
		if len(bundle) != 0 {
			return fmt.Errorf("BUNDLE TOO LONG %d", count-1)
		}
	}
	if count != tree.N {
		return fmt.Errorf("%d entries instead of %d", count, tree.N)
	}
	if chosen >= 0 && chosen < tree.N {
		proof, err := tlog.ProveRecord(tree.N, chosen, hashes)
		if err != nil {
			return err
		}
		leaf, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, chosen)})
		if err != nil {
			return err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, chosen, leaf[0]); err != nil {
			return err
		}
	}
	fmt.Printf("size %d bad 0\n", tree.N)
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: journal-verify VKEY DIR[,DIR…] [INDEX]")
		os.Exit(2)
	}
	chosen := int64(0)
	if len(os.Args) > 3 {
		chosen, _ = strconv.ParseInt(os.Args[3], 10, 64)
	}
	status := 0
	for _, folder := range strings.Split(os.Args[2], ",") {
		if err := check(os.Args[1], folder, chosen); err != nil {
			fmt.Println(err)
			status = 1
		}
	}
	os.Exit(status)
}
